"""`front`: the best networks of a study, beside its baselines."""

from nas_sv2.commands.options import (
    STORAGE,
    AsJson,
    Storage,
    StudyName,
    open_database,
    print_json,
    print_notes,
)


def front(study: StudyName, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Print the front of a study, with its baselines."""
    from nas_sv2.api.study import open_study
    from nas_sv2.show.study_tables import front_data, study_notes
    from nas_sv2.show.tables import front_table, output

    facts = open_study(study, storage=open_database(storage)).facts
    if as_json:
        print_json(front_data(facts))
    else:
        output().print(front_table(facts.front))
        print_notes(study_notes(facts))
