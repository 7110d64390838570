"""The page on the design shows the tree as it is."""

import re

from pages import ROOT

PAGE = (ROOT / "docs" / "explain" / "design.md").read_text(encoding="utf-8")
FLOORS = ["search", "studies", "latency", "evaluate", "space"]


def drawn() -> dict[str, list[str]]:
    """Return the rooms of each folder in the picture of the house, in their order."""
    picture = PAGE.split("```text\n")[1].split("```")[0]
    rooms: dict[str, list[str]] = {}
    folder = ""
    for line in picture.splitlines():
        name = line.split("/ ")[0]
        if not line.startswith(" "):
            folder = name
            rooms.setdefault(folder, [])
        elif "/" in line.split()[0]:
            rooms[folder].append(name.strip())
    return rooms


def test_the_picture_has_every_room_of_the_tree() -> None:
    for folder in ["nas_sv2", *FLOORS]:
        inits = (ROOT / folder).glob("*/__init__.py")
        own = [path.parent.name for path in inits if not path.parent.is_symlink()]
        assert sorted(drawn()[folder]) == sorted(own), folder


def test_the_rooms_are_drawn_in_the_order_of_their_imports() -> None:
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for folder in FLOORS:
        contract = contracts.split(f'containers = ["nas_sv2.{folder}"]')[1].split("[[tool.")[0]
        layers = re.findall(r'"([a-z_ |]+)"', contract.split("layers = ")[1])
        place = {room.strip(): at for at, layer in enumerate(layers) for room in layer.split("|")}
        floors = [place[room] for room in drawn()[folder]]
        assert floors == sorted(floors), folder


def test_every_function_and_file_that_the_page_names_exists() -> None:
    rows = re.findall(r"^\| [^|]+ \| `([\w.]+)` \| `([\w/]+\.py)` \|$", PAGE, re.M)
    assert len(rows) > 10
    for function, file in rows:
        text = (ROOT / file).read_text(encoding="utf-8")
        for name in function.split("."):
            assert re.search(rf"^ *(def|class) {name}\b", text, re.M), f"{function} in {file}"
    for path in re.findall(
        r"`((?:nas_sv2|space|latency|evaluate|studies|search|tests)/[\w/.]+)`", PAGE
    ):
        assert (ROOT / path).exists(), path
