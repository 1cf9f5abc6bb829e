"""What an allow-list opens, and that nothing that only looks like it is opened."""

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.adapters.sandbox.egress.addresses import Place, place
from orchestration.adapters.sandbox.egress.hosts import literal, parse_authority, parse_host
from orchestration.adapters.sandbox.egress.policy import Grant, Policy, Refusal, parse
from orchestration.adapters.sandbox.egress.presets import PRESETS

REFERENCE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "network.md"

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=2, max_size=4).map(".".join)
numbers = st.integers(min_value=0, max_value=2**32 - 1)


def is_open(policy: Policy, host: str, port: int = 443) -> bool:
    return isinstance(policy.judge(host, port), Grant)


@given(names)
def test_a_listed_host_is_open_on_the_ports_of_the_web_only(host: str) -> None:
    policy = parse([host])
    assert [port for port in (1, 22, 80, 443, 8080) if is_open(policy, host, port)] == [80, 443]


@given(names, st.integers(min_value=1, max_value=65535))
def test_an_entry_with_a_port_opens_that_port_only(host: str, port: int) -> None:
    policy = parse([f"{host}:{port}"])
    assert is_open(policy, host, port)
    assert not is_open(policy, host, port % 65535 + 1)


@given(names, names)
def test_a_host_that_only_begins_or_ends_like_a_listed_one_is_refused(listed: str, other: str) -> None:
    policy = parse([listed, f".{listed}"])
    assert not is_open(policy, f"evil{listed}")
    assert is_open(policy, f"{listed}.{other}") is (f"{listed}.{other}".endswith(f".{listed}"))


@pytest.mark.parametrize("entry", [".pypi.org", "*.pypi.org"])
@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("files.pypi.org", True),
        ("a.b.pypi.org", True),
        ("pypi.org", False),
        ("evilpypi.org", False),
        ("pypi.org.evil.com", False),
        ("org", False),
    ],
)
def test_a_suffix_opens_the_names_below_it_and_not_itself(entry: str, host: str, *, opened: bool) -> None:
    assert is_open(parse([entry]), host) is opened


def test_what_is_not_listed_and_what_is_listed_for_another_port_are_told_apart() -> None:
    policy = parse(["pypi.org"])
    assert policy.judge("example.org", 443) is Refusal.NOT_LISTED
    assert policy.judge("pypi.org", 22) is Refusal.PORT_NOT_LISTED


@given(names)
def test_the_case_of_a_host_does_not_matter(host: str) -> None:
    assert parse_host(host.upper()) == host


@given(st.text(max_size=60))
def test_whatever_is_taken_as_a_host_is_in_its_one_canonical_form(text: str) -> None:
    try:
        host = parse_host(text)
    except ValueError:
        return
    assert parse_host(host) == host
    assert re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:]+\]", host)


@given(numbers)
def test_an_address_in_any_form_but_the_dotted_quad_is_refused(number: int) -> None:
    quad = str(ipaddress.IPv4Address(number))
    first, rest = number >> 24, number & 0xFFFFFF
    for form in (str(number), hex(number), f"0{number:o}", f"{first}.{rest}", f"{hex(first)}.{rest}", f"0{quad}"):
        with pytest.raises(ValueError):
            parse_host(form)
    assert parse_host(quad) == quad


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "pypi.org.",
        ".pypi.org",
        "pypi..org",
        "-pypi.org",
        "pypi-.org",
        "py_pi.org",
        "pypi.org\n",
        "pypi.org\0.evil.com",
        " pypi.org",
        "pypi.org%2eevil.com",
        "user@pypi.org",
        "pypi.org/evil",
        "pypi.org\\evil",
        "pypi\uff0eorg",
        "\u212aypi.org",
        "127.1",
        "1.2.3.4.5",
        "evil.123",
        "evil.0x7f",
        "a" * 64 + ".org",
        "a." * 127 + "org",
        "::1",
        "[::1",
        "[::1%eth0]",
        "[::ffff:127.0.0.1]",
        "[127.0.0.1]",
        "[::1]]",
    ],
)
def test_what_is_no_plain_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError):
        parse_host(host)


@pytest.mark.parametrize("port", ["", "0", "65536", "080", "+80", "-1", "8_0", " 80", "\u0668\u0660", "http", "80:80"])
def test_what_is_no_plain_port_is_refused(port: str) -> None:
    with pytest.raises(ValueError):
        parse_authority(f"pypi.org:{port}")


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("pypl", "did you mean 'pypi'"),
        ("https://pypi.org/simple", "did you mean 'pypi.org'"),
        ("https://me:word@pypi.org:8443/simple", "did you mean 'pypi.org:8443'"),
        ("pypi.org/simple", "did you mean 'pypi.org'"),
        ("pypi.org.", "did you mean 'pypi.org'"),
        ("*.org", "two labels"),
        ("*.1.2.3.4", "two labels"),
        ("pypi.*", "HOST, HOST:PORT"),
        ("::1", "brackets"),
        ("127.1", "four decimal numbers"),
        ("b\xfccher.example", "xn--"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_what_is_nearest(entry: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)) as caught:
        parse([entry])
    assert repr(entry) in str(caught.value)


def test_a_preset_is_no_private_entry() -> None:
    with pytest.raises(ValueError, match="list it under allow"):
        parse([], private=["pypi"])


def test_a_preset_opens_its_hosts_and_no_others() -> None:
    policy = parse(["pypi"])
    everything = {host for hosts in PRESETS.values() for host in hosts}
    assert {host for host in everything if is_open(policy, host)} == set(PRESETS["pypi"])


@pytest.mark.parametrize("name", PRESETS)
def test_every_host_of_a_preset_is_canonical(name: str) -> None:
    assert [parse_host(host) for host in PRESETS[name]] == list(PRESETS[name])


def test_the_reference_lists_exactly_the_presets() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| (`[^|]+`) \|$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: tuple(re.findall(r"`([^`]+)`", hosts)) for name, hosts in rows} == dict(PRESETS)


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("151.101.0.223", Place.PUBLIC),
        ("2a04:4e42::223", Place.PUBLIC),
        ("64:ff9b::9765:df", Place.PUBLIC),
        ("64:ff9b::7f00:1", Place.PRIVATE),
        ("64:ff9b::a9fe:a9fe", Place.METADATA),
        ("64:ff9b:1::7f00:1", Place.UNUSABLE),
        ("127.0.0.1", Place.PRIVATE),
        ("127.255.255.254", Place.PRIVATE),
        ("10.0.0.1", Place.PRIVATE),
        ("172.31.255.255", Place.PRIVATE),
        ("192.168.1.1", Place.PRIVATE),
        ("100.64.0.1", Place.PRIVATE),
        ("::1", Place.PRIVATE),
        ("fd12::1", Place.PRIVATE),
        ("169.254.169.254", Place.METADATA),
        ("169.254.0.1", Place.METADATA),
        ("100.100.100.200", Place.METADATA),
        ("168.63.129.16", Place.METADATA),
        ("192.0.0.192", Place.METADATA),
        ("fd00:ec2::254", Place.METADATA),
        ("fd20:ce::254", Place.METADATA),
        ("fe80::1", Place.METADATA),
        ("0.0.0.0", Place.UNUSABLE),
        ("0.1.2.3", Place.UNUSABLE),
        ("192.88.99.1", Place.UNUSABLE),
        ("192.0.2.1", Place.UNUSABLE),
        ("198.18.0.1", Place.UNUSABLE),
        ("224.0.0.1", Place.UNUSABLE),
        ("240.0.0.1", Place.UNUSABLE),
        ("255.255.255.255", Place.UNUSABLE),
        ("::", Place.UNUSABLE),
        ("::127.0.0.1", Place.UNUSABLE),
        ("::ffff:127.0.0.1", Place.UNUSABLE),
        ("::ffff:151.101.0.223", Place.UNUSABLE),
        ("2002:7f00:1::", Place.UNUSABLE),
        ("2001:0:7f00:1::", Place.UNUSABLE),
        ("2001:db8::1", Place.UNUSABLE),
        ("3fff::1", Place.UNUSABLE),
        ("fec0::1", Place.UNUSABLE),
        ("ff02::1", Place.UNUSABLE),
        ("4000::1", Place.UNUSABLE),
    ],
)
def test_an_address_is_where_it_leads(address: str, where: Place) -> None:
    assert place(ipaddress.ip_address(address)) is where


@given(numbers)
def test_no_address_that_the_standard_library_calls_private_or_multicast_is_public(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    assert not (place(address) is Place.PUBLIC and (not address.is_global or address.is_multicast))


def grant(policy: Policy, host: str, port: int = 80) -> Grant:
    granted = policy.judge(host, port)
    assert isinstance(granted, Grant)
    return granted


def test_a_private_entry_opens_private_addresses_for_itself_only() -> None:
    policy = parse(["other.example"], private=["registry.example"])
    home = ipaddress.ip_address("10.0.0.1")
    assert grant(policy, "registry.example").refusal(home) is None
    assert grant(policy, "other.example").refusal(home) is Refusal.PRIVATE


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "168.63.129.16"])
def test_a_metadata_address_takes_a_private_entry_that_is_it(address: str) -> None:
    meta = ipaddress.ip_address(address)
    assert grant(parse([], private=["m.example"]), "m.example").refusal(meta) is Refusal.METADATA
    assert grant(parse([address]), address).refusal(meta) is Refusal.METADATA
    assert grant(parse([], private=[address]), address).refusal(meta) is None


def test_an_unusable_address_is_refused_even_when_it_is_a_private_entry() -> None:
    assert grant(parse([], private=["0.0.0.0"]), "0.0.0.0").refusal(ipaddress.ip_address("0.0.0.0")) is Refusal.UNUSABLE


def test_a_bracketed_address_is_one_host_in_all_its_spellings() -> None:
    policy = parse([], private=["[0:0::1]:8080"])
    host, port = parse_authority("[::1]:8080")
    assert port == 8080
    assert is_open(policy, host, port)
    assert literal(host) == ipaddress.ip_address("::1")
