"""tunnel/paths.py: path prefixes, and the tricks that would leave them."""

from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import SettingsRefused
from tunnel.paths import MAX_PREFIX_CHARACTERS, is_path_below, parse_prefix

API = (b"/api/",)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("/", ""),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/api/v1.0/~me", "/api/v1.0/~me"),
        ("/%61pi/caf%c3%a9", "/api/caf%C3%A9"),
        ("/a;b=c,d@e", "/a;b=c,d@e"),
    ],
)
def test_a_prefix_is_brought_into_one_form(text, prefix):
    assert parse_prefix(text, "path") == prefix
    assert parse_prefix(prefix or "/", "path") == prefix


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "begin with '/'"),
        ("api", "begin with '/'"),
        ("/api/*", "leave it out"),
        ("/a b", "percent-encode"),
        ("/é", "percent-encode"),
        ("/a?b", "percent-encode"),
        ("/a#b", "percent-encode"),
        ("/a//b", "percent-encode"),
        ("/a\\b", "percent-encode"),
        ("/a%2", "percent-encode"),
        ("/a\n", "percent-encode"),
        ("/a/../b", "leads up"),
        ("/a/%2e%2E", "leads up"),
        ("/" + "a" * MAX_PREFIX_CHARACTERS, "longer than"),
    ],
)
def test_what_is_no_prefix_is_refused_with_a_remedy(text, remedy):
    with pytest.raises(SettingsRefused) as caught:
        parse_prefix(text, "path")

    assert caught.value.setting == "path"
    assert remedy in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "path",
    [
        b"/api",
        b"/api/",
        b"/api/x",
        b"/api//x",
        b"/api/./x",
        b"/api/a.b/c..d",
        b"/api/%2Fx",
        b"/api/%zz;y",
        b"/%61pi/x",
        b"/ap%69",
    ],
)
def test_a_path_below_the_prefix_passes(path):
    assert is_path_below(path, API)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"*",
        b"/apis",
        b"/ap",
        b"/API/x",
        b"//api/x",
        b"/./api/x",
        b"/x/api",
        b"/api;x/y",
        b"/api%2fadmin",
        b"/api\\admin",
    ],
)
def test_a_path_that_does_not_begin_with_the_prefix_does_not_pass(path):
    assert not is_path_below(path, API)


@pytest.mark.parametrize("dots", ["..", "%2e%2e", ".%2E", "%2e.", "%252e%252E"])
@pytest.mark.parametrize("slash", ["/", "%2f", "%2F", "\\", "%5c", "%252f", "//"])
@pytest.mark.parametrize("end", ["", "/admin", ";x/admin", "%2fadmin", "\\admin"])
def test_no_spelling_of_two_dots_leads_out_of_the_prefix(dots, slash, end):
    assert not is_path_below(f"/api{slash}{dots}{end}".encode(), API)
    assert not is_path_below(f"/api/x{slash}{dots}{end}".encode(), API)


@pytest.mark.parametrize(
    "path",
    [
        b"/api/%c0%ae%c0%ae/admin",
        b"/api/..%c0%af../admin",
        b"/api/x%c1%9c../admin",
        b"/api/%u002e%u002e/admin",
        b"/api/x%u002f../admin",
        b"/api/%25c0%25ae./admin",
        b"/api/.../admin",
        b"/api/..%00/admin",
    ],
)
def test_what_only_old_or_odd_servers_take_for_two_dots_does_not_pass(path):
    assert not is_path_below(path, API)


def test_one_of_several_prefixes_is_enough():
    beginnings = (b"/api/", b"/hook/")

    assert is_path_below(b"/hook", beginnings)
    assert not is_path_below(b"/hooks", beginnings)


def test_the_root_has_every_path_but_those_that_lead_up():
    assert is_path_below(b"", (b"/",))
    assert is_path_below(b"/x", (b"/",))
    assert not is_path_below(b"/../x", (b"/",))
    assert not is_path_below(b"*", (b"/",))


pieces = st.sampled_from(
    [
        "/",
        "//",
        "\\",
        ".",
        "..",
        "%2e",
        "%2f",
        "%5C",
        "%25",
        "2e",
        "2f",
        ";",
        "a",
        "api",
    ]
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_a_path_that_passes_stays_below_however_it_is_decoded(rest):
    path = "/api" + rest
    if not is_path_below(path.encode(), API):
        return

    for _ in range(4):
        for reading in (path, path.replace("\\", "/")):
            without_parameters = "/".join(
                segment.partition(";")[0] for segment in reading.split("/")
            )
            for each in (reading, without_parameters):
                assert f"{normpath(each)}/".startswith("/api/")
        path = unquote(path, "latin-1")


@given(st.binary(max_size=60))
def test_no_path_raises(path):
    assert is_path_below(path, API) in (True, False)


@given(st.text("ab/.%26eE;~", max_size=20).map(lambda rest: "/" + rest))
def test_a_prefix_that_is_accepted_passes_by_itself(text):
    try:
        prefix = parse_prefix(text, "path")
    except SettingsRefused:
        return

    assert is_path_below(text.encode(), (f"{prefix}/".encode(),))
