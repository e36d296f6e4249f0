"""Addresses of catalogs, as users copy and type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xas_live.archive import ArchiveError, open_archive
from xas_live.archive.uri import folder_of, is_uri, masked, parent_and_key, read_uri

METADATA = "http://localhost:8000/api/v1/metadata"


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("http://localhost:8000", METADATA),
        ("http://localhost:8000/", METADATA),
        ("http://localhost:8000/api", METADATA),
        (" http://localhost:8000/api/v1 ", METADATA),
        ("localhost:8000", METADATA),
        ("localhost:8000/api/v1/metadata/raw", f"{METADATA}/raw"),
        ("tiled://localhost:8000/api/v1/metadata/raw/", f"{METADATA}/raw"),
        ("http://localhost:8000/api/v1/metadata/chx/raw", f"{METADATA}/chx/raw"),
        ("http://localhost:8000/api/v1/search/chx/raw", f"{METADATA}/chx/raw"),
        ("http://localhost:8000/ui", METADATA),
        ("http://localhost:8000/ui/browse/", METADATA),
        ("http://localhost:8000/ui/browse/chx/raw/", f"{METADATA}/chx/raw"),
        ("HTTPS://tiled.example.org/ui/browse/chx", "https://tiled.example.org/api/v1/metadata/chx"),
        ("tiled.example.org:443/api/v1", "https://tiled.example.org:443/api/v1/metadata"),
        ("https://example.org/tiled", "https://example.org/tiled/api/v1/metadata"),
        ("https://example.org/tiled/ui/browse/a", "https://example.org/tiled/api/v1/metadata/a"),
        ("http://[::1]:8000/", "http://[::1]:8000/api/v1/metadata"),
    ],
)
def test_uris_are_understood_as_users_write_them(written, uri):
    assert is_uri(written)
    assert read_uri(written) == (uri, None)
    mark = "&" if "?" in written else "?"
    assert read_uri(f"{written.strip()}{mark}api_key=abc") == (uri, "abc")


@pytest.mark.parametrize(
    "folder", ["~/xas_archive", "archive", "/data/xas", "./a:b", "file:///data/xas", "FILE:/data/xas"]
)
def test_folders_are_no_uris(folder):
    assert not is_uri(folder)


def test_files_are_folders_of_this_computer(tmp_path):
    assert folder_of(f"file://localhost{tmp_path}/a%20b") == tmp_path / "a b"
    assert folder_of(f"file:{tmp_path}") == folder_of(str(tmp_path)) == tmp_path
    with pytest.raises(ArchiveError, match="folder of the computer 'elsewhere'"):
        open_archive("file://elsewhere/data")


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("http://me:secret@localhost:8000", "takes an API key instead"),
        ("postgresql://me:secret@db/catalog", "is not the URI of a Tiled server"),
        ("http://localhost:eight", "is not the URI of a Tiled server"),
        ("http:/localhost:8000", "is not the URI of a Tiled server"),
        ("sqlite:/data/secret/catalog.db@", "is not the URI of a Tiled server"),
        ("s3://bucket/xas?apikey=secret", "is not the URI of a Tiled server"),
        ("me:secret@localhost:8000", "takes an API key instead"),
        ("http://me:se/secret@localhost:8000", "cannot be read"),
        ("http://me:at@secret@localhost:8000", "takes an API key instead"),
        ("http://localhost:8000/api/v1/raw", "is not the address of a catalog"),
        ("http:///api/v1", "is not the URI of a Tiled server"),
        ("http://localhost:8000/api/v1/array/full/raw/x?api_key=secret", "is not the address of a catalog"),
    ],
)
def test_others_are_corrected_in_words_that_hold_no_secret(written, complaint):
    with pytest.raises(ArchiveError, match=complaint) as refusal:
        open_archive(written)
    assert "secret" not in str(refusal.value)


def test_what_answers_may_be_no_catalog(facility):
    for path, complaint in {
        "/api/v1/metadata/chx/rwa": "there is no catalog at .*'rwa'",
        "/chx/raw": "there is no catalog at .*/api/v1/metadata/CATALOG",
    }.items():
        with pytest.raises(ArchiveError, match=complaint) as refusal:
            open_archive(f"{facility.many}{path}?api_key=facility")
        assert "facility" not in str(refusal.value)


KEYS = st.lists(st.text("abc_.-0", min_size=1, max_size=5), max_size=3)


@given(KEYS)
def test_reading_a_uri_again_changes_nothing(keys):
    uri, _ = read_uri("/".join(["https://tiled.example.org/ui/browse", *keys]))
    assert read_uri(uri) == (uri, None)
    place = parent_and_key(uri)
    assert (place is None) == (not keys)
    if place:
        assert f"{place[0]}/{place[1]}" == uri


@given(st.text("abc:@/?&=", max_size=12), st.text("xyz0", min_size=4, max_size=8))
def test_secrets_are_masked_anywhere_in_a_text(around, secret):
    text = f"{around} http://me:{secret}@host/?a=1&api_key={secret} {around}"
    assert secret not in masked(text)


@given(st.text("/@:=?#&'", max_size=4), st.sampled_from(["", "http://", "derived='https://"]))
def test_passwords_are_masked_whatever_stands_in_them(marks, before):
    text = masked(f"cannot open {before}me:{marks}secret{marks}@host:8000/api, try again")
    assert "secret" not in text
    assert text.startswith("cannot open ")
    assert text.endswith("@host:8000/api, try again")
