"""What a webhook's URL may look like."""

import pytest

from milepost.domain.addresses import networks
from milepost.domain.webhook_url import UrlRules, read_url

STRICT = UrlRules()
DEVELOPMENT = UrlRules(http=True, ports=None, opened=networks(["127.0.0.0/8", "::1"]))


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/hooks/milepost", "https://example.com", "https://EXAMPLE.com/a?b=c&d=%20",
        "https://a.b-c.d_e.example.com:8443/", "https://example.com:443/x", "https://xn--bcher-kva.example/",
        "https://example.com./x",
    ],
)  # fmt: skip
def test_urls_of_hosts_that_are_named_in_full_are_taken(text: str) -> None:
    url = read_url(text, STRICT)
    assert url.scheme == "https"
    assert url.raw_host


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "gopher://example.com/", "//example.com/",
        "javascript:alert(1)", "https:///x", "https://", "https:example.com",
        "https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/",
        "https://:@example.com/",
        "https://example.com@127.0.0.1/", "https://127.0.0.1#@example.com/", "https://example.com/#x",
        "https://example.com/#",
        "https://example.com:22/", "https://example.com:80/", "https://example.com:8080/", "https://example.com:6379/",
        "https://example.com:0/", "https://example.com:65536/", "https://example.com:-1/", "https://example.com:x/",
        "https://localhost/", "https://redis/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/", "https://017700000001/", "https://0177.0.0.1/", "https://1.1.1.1/",
        "https://169.254.169.254/latest",
        "https://example.0x7f/", "https://example.127/",
        "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[2606:4700::1111]/",
        "https://[::/",
        "https://exa mple.com/", " https://example.com/", "https://example.com/\r\nX: y",
        "https://example.com\\@127.0.0.1/", "https://example.com/a\\b",
        "https://example.com/\x00", "https://b\u00fccher.example/", "https://example\u3002com/",
        "https://\u24d4xample.com/",
        "https://-example.com/", "https://example-.com/", "https://exa..mple.com/", "https://%65xample.com/",
        "https://example.com%00/",
        "https://" + "a" * 64 + ".com/", "https://" + "a." * 130 + "com/", "https://example.com/" + "x" * 2048,
    ],
)  # fmt: skip
def test_all_else_is_refused_with_words_that_say_how_it_should_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"^should "):
        read_url(text, STRICT)


def test_of_an_address_it_is_said_whether_it_is_public() -> None:
    with pytest.raises(ValueError, match=r"the address 10\.0\.0\.1 is not public \(private\)"):
        read_url("https://10.0.0.1/", STRICT)
    with pytest.raises(ValueError, match="certificates are for names"):
        read_url("https://1.1.1.1/", STRICT)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9000/hook", "http://[::1]:9000/", "http://localhost:9000/", "https://example.com:22/"]
)
def test_development_may_have_what_is_opened(text: str) -> None:
    assert str(read_url(text, DEVELOPMENT)) == text


@pytest.mark.parametrize("text", ["http://10.0.0.1/", "http://u@localhost/", "ftp://localhost/", "http://1.1.1.1/"])
def test_development_may_not_have_more(text: str) -> None:
    with pytest.raises(ValueError, match=r"^should "):
        read_url(text, DEVELOPMENT)
