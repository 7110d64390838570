"""`front`: the best networks of a study, beside its baselines."""

from nas_sv2.commands.options import STORAGE, AsJson, Storage, StudyName, print_json, print_notes


def front(
    study: StudyName,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print the front of a study, with its baselines."""
    from nas_sv2.show.tables import front_data, front_notes, front_table, output, pruned_data
    from nas_sv2.studies.storage.confirmation_store import confirmation_lines, confirmations_in
    from nas_sv2.studies.storage.named_networks import certificate_for, pruned_in, records_of

    records, pruned = records_of(storage, study), pruned_in(storage, study)
    confirmations = confirmations_in(storage, study)
    if as_json:
        print_json(
            {
                "study": study,
                "entries": front_data(records),
                "pruned": pruned_data(pruned),
                "confirmations": [each.to_json() for each in confirmations],
            }
        )
    else:
        output().print(front_table(records))
        print_notes(front_notes(records, certificate_for(storage, study, records)))
        print_notes([each.describe() for each in pruned])
        print_notes(confirmation_lines(confirmations))
