import hashlib
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.layouts.stored_zip import ZIP_EPOCH, write_zip

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00\\", categories=["L", "N", "P"]), min_size=1)


def written_by_python(entries):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, entries[name])
    return raw.getvalue()


def written(entries):
    raw = io.BytesIO()
    digest = write_zip(raw, entries)
    assert digest == hashlib.sha256(raw.getvalue()).hexdigest()
    return raw.getvalue()


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=8))
def test_the_bytes_are_those_of_pythons_own_module(entries):
    assert written(entries) == written_by_python(entries)


@pytest.mark.parametrize("limit", [0, 40, 100, 250, 400, 10_000])
def test_numbers_beyond_32_bits_are_written_as_pythons_own_module_does(monkeypatch, limit):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    entries = {"a": b"x" * 10, "b/c": b"y" * 90, "d": b"", "é": b"z" * 140}
    assert written(entries) == written_by_python(entries)


def test_more_entries_than_16_bits_count():
    entries = {str(number): b"" for number in range(65_536)}
    assert written(entries) == written_by_python(entries)


def test_a_path_gets_the_same_bytes(tmp_path):
    entries = {"b": b"2", "a": b"1"}
    digest = write_zip(tmp_path / "x.zip", entries)
    assert (tmp_path / "x.zip").read_bytes() == written(entries)
    assert digest == hashlib.sha256(written(entries)).hexdigest()


def test_what_the_disk_refuses_is_raised():
    class Full(io.BytesIO):
        def writelines(self, lines):
            raise OSError(28, f"No space left on device for {len(lines)}")

    with pytest.raises(OSError, match="No space"):
        write_zip(Full(), {"a": b"1"})
