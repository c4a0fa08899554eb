"""What was set aside is never written over by what is set aside later."""

from __future__ import annotations

from pathlib import Path

from perun_like.store.place import RunPlace, move_into


def test_files_of_one_name_are_all_kept(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        (tmp_path / "host.part").write_text(text)
        move_into(str(tmp_path / "host.part"), str(tmp_path / "damaged"))
    found = {path.name: path.read_text() for path in (tmp_path / "damaged").iterdir()}
    assert found == {"host.part": "first", "host-2.part": "second", "host-3.part": "third"}


def test_what_an_earlier_recovery_left_beside_the_results_stays(tmp_path: Path) -> None:
    place = RunPlace.claim(str(tmp_path), "heat", "first")
    beside = Path(place.path).with_suffix(".damaged")
    for directory, text in ((beside, "earlier"), (Path(place.parts, "damaged"), "later")):
        directory.mkdir(parents=True)
        (directory / "host.part").write_text(text)
    place.release()
    assert {path.name: path.read_text() for path in beside.iterdir()} == {
        "host.part": "earlier",
        "host-2.part": "later",
    }
    assert not Path(place.parts).exists()
