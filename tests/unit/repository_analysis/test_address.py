"""What is accepted as an address and as a ref, and what is refused before git ever sees it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from examples.repository_analysis.address import check_ref, parse_address, without_credentials
from examples.repository_analysis.errors import RefusedRepository
from examples.repository_analysis.models import AnalyseRepository


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/pallets/flask",
        "https://user:token@example.org:8443/a/b.git",
        "ssh://git@example.org/a/b.git",
        "ssh://git@[::1]:22/a/b.git",
        "git@github.com:pallets/flask.git",
    ],
)
def test_remote_addresses_are_accepted(url: str) -> None:
    assert parse_address(url).url == url


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/srv/a b", "/srv/a b"),
        (".", "."),
        ("./-odd", "./-odd"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file://localhost/srv/a", "/srv/a"),
    ],
)
def test_paths_and_file_urls_are_local(value: str, path: str) -> None:
    assert parse_address(value).path == Path(path)


@pytest.mark.parametrize(
    "hostile",
    [
        "--upload-pack=touch /tmp/owned",
        "-u",
        "ext::sh -c touch% /tmp/owned",
        "fd::17",
        "helper::https://example.org/a",
        "EXT::sh",
        "http://example.org/a",
        "git://example.org/a",
        "ftp://example.org/a",
        "ssh://-oProxyCommand=touch/a",
        "ssh://-l@example.org/a",
        "ssh://example.org/-a",
        "https:///a",
        "https://[bad/a",
        "https://example.org:99999/a",
        "file://other.example.org/srv/a",
        "file://srv%00/a",
        "file:relative",
        "git@example.org:path\nwith lines",
        "a\0b",
    ],
)
def test_hostile_addresses_are_refused_or_only_a_path(hostile: str) -> None:
    try:
        address = parse_address(hostile)
    except RefusedRepository as refused:
        assert str(refused)  # noqa: PT017 - both outcomes are safe, and both are checked
    else:
        assert address.url is None
        assert hostile == "file:relative"


@pytest.mark.parametrize("ref", ["HEAD", "main", "feature/a-b", "v1.0", "refs/tags/v1", "a" * 40, "HEAD~3"])
def test_names_of_commits_are_accepted(ref: str) -> None:
    check_ref(ref)


@pytest.mark.parametrize("ref", ["", "--all", "-x", "a..b", "a b", "a:b", "a\nb", "*", "a?", "a[b]", "a\\b", "a\0"])
def test_refs_that_are_options_ranges_or_patterns_are_refused(ref: str) -> None:
    with pytest.raises(RefusedRepository):
        check_ref(ref)


def test_a_request_with_a_hostile_address_is_not_valid() -> None:
    with pytest.raises(ValidationError, match="transport helpers"):
        AnalyseRepository(repository="ext::sh -c id")
    with pytest.raises(ValidationError, match="The ref is not"):
        AnalyseRepository(repository="/srv/a", ref="--output=/tmp/x")


def test_credentials_are_removed_wherever_they_stand() -> None:
    said = "fatal: unable to access 'https://me:secret@example.org/a': no; https://token@example.org/b"
    assert without_credentials(said) == ("fatal: unable to access 'https://example.org/a': no; https://example.org/b")
    assert parse_address("https://me:secret@example.org/a").shown == "https://example.org/a"
    assert "p@ss" not in without_credentials("https://me:p@ss@example.org/a")
