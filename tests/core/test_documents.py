"""Documents: what is read, and that every mistake is found, at its line, in words that help."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import Problem, UserError
from ovenbird.model.objects import (
    ExternalNetwork,
    FloatingIP,
    Network,
    Port,
    Route,
    Router,
    RouterExternal,
    Spec,
)
from ovenbird.model.rendering import render_documents
from ovenbird.model.schema import json_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
PORT = "kind: Port\nname: p\nspec:\n  network: n\n"
NETWORK = "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n"


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(UserError) as caught:
        parse_documents(text, "f.yaml")
    assert caught.value.code == "bad_input"
    assert all(problem.file == "f.yaml" for problem in caught.value.problems)
    return caught.value.problems


def test_documents_know_their_place():
    first, second = parse_documents("# a comment\n---\n" + NETWORK + "---\n# nothing\n---\n" + PORT, "f.yaml")
    assert (first.key, first.line, first.spec) == (("Network", "n"), 3, Network(cidr="10.0.0.0/24"))
    assert (second.key, second.line, second.spec) == (("Port", "p"), 10, Port(network="n"))
    assert second.problem("no", "network").render() == "f.yaml:13: Port/p: no"
    assert second.problem("no", "address").line == 12


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n", "null"])
def test_nothing_declared_is_no_mistake(text: str):
    assert parse_documents(text) == ()


def test_json_is_read_too():
    text = json.dumps({"kind": "Router", "name": "r", "spec": {"routes": [{"to": "10.0.0.0/8", "via": "10.1.1.1"}]}})
    assert parse_documents(text)[0].spec == Router(routes=(Route(to="10.0.0.0/8", via="10.1.1.1"),))


def test_words_that_old_yaml_takes_for_something_else_are_text():
    documents = parse_documents(
        "{kind: Port, name: no, spec: {network: on, mac: 10:20:30:40:50:58}}\n---\n{kind: Router, name: '7'}"
    )
    assert documents[0].name == "no"
    assert documents[0].spec == Port(network="on", mac="10:20:30:40:50:58")
    assert documents[1].name == "7"


MISTAKES = [
    ("kind: Network\nname: n\nspec: {cidr: [}\n", 3, "not YAML", "this line"),
    ("kind: Network\n\tname: n\n", 2, "not YAML", "not tabs"),
    ("kind: Router\nname: \x07r\n", 2, "control character", "remove"),
    ("kind: Router\nname: \ud800\n", 2, "surrogate", "remove"),
    ("[" * 100_000, 1, "nested deeper", ""),
    ("- " * 100_000, 1, "nested deeper", ""),
    ("just text", 1, "must be a mapping", ""),
    ("kind: network\nname: n\nspec: {}\n", 1, "unknown kind 'network'", "'Network'"),
    ("kind: Nonsense\nname: n\n", 1, "unknown kind", "Router"),
    ("kind: 5\nname: n\n", 1, "'kind' must be text", "Router"),
    ("name: n\nspec: {}\n", 1, "'kind' is missing", "Router"),
    ("kind: Router\nspec: {}\n", 1, "'name' is missing", "unique"),
    ("kind: Router\nname: Big_One\n", 2, "not a valid name", "'big-one'"),
    ("kind: Router\nname: 12\n", 2, "'name' must be text", '"12"'),
    ("kind: Router\nname: true\n", 2, "'name' must be text", '"true"'),
    ("kind: Router\nname: [r]\n", 2, "'name' must be text", ""),
    ("kind: Router\nname: r\nspec: [a]\n", 3, "'spec' must be a mapping", "field: value"),
    ("kind: Router\nname: r\nmetadata: {a: b}\n", 3, "unknown field 'metadata'", "name: ..."),
    ("kind: Network\nname: n\ndhcp: true\nspec: {cidr: 10.0.0.0/8}\n", 3, "unknown field 'dhcp'", "into 'spec'"),
    ("kind: Router\nname: r\nspce: {}\n", 3, "unknown field 'spce'", "'spec'"),
    ("kind: Router\nname: r\nname: s\n", 3, "'name' is given twice; first on line 2", "keep one"),
    ("kind: Router\nname: r\nspec: &x {}\n", 3, "anchors", "write the value"),
    ("kind: Router\nname: r\nspec: *x\n", 3, "aliases", "write the value"),
    ("kind: Router\nname: !!python/name:os.system r\n", 2, "tags", "remove"),
    ("kind: Router\nname: r\nspec:\n  ? [a]\n  : b\n", 4, "field's name must be text", ""),
    ("kind: Router\nname: r\n---\nkind: Router\nname: r\n", 5, "declared twice; first on line 1", "keep one"),
    ("kind: Network\nname: n\nspec:\n  dhcp: true\n", 3, "'cidr' is missing", "addresses"),
    (NETWORK + "  dcp: true\n", 5, "unknown field 'dcp'", "'dhcp'"),
    (NETWORK + "  dhcp: yes\n", 5, "'dhcp' must be true or false, not 'yes'", ""),
    (NETWORK + "  dhcp: 'true'\n", 5, "'dhcp' must be true or false", "without quotes"),
    (NETWORK + "  mtu: '1400'\n", 5, "'mtu' must be a whole number, not '1400'", "without quotes"),
    (NETWORK + "  mtu: 1400.5\n", 5, "'mtu' must be a whole number, not 1400.5", ""),
    (NETWORK + "  mtu: 9\n", 5, "'mtu' must be at least 576, not 9", ""),
    (NETWORK + "  mtu: 99999\n", 5, "'mtu' must be at most 9216, not 99999", ""),
    (NETWORK + "  dns: 1.1.1.1\n", 5, "'dns' must be a list, not '1.1.1.1'", "- "),
    (NETWORK + "  dns:\n    - 1.1.1.1\n    - 1.1.1\n", 7, "'dns[1]': '1.1.1' is not an IPv4 address", ""),
    (NETWORK + "  router: {name: r}\n", 5, "'router' must be text, not a mapping", ""),
    (NETWORK + "  gateway: 10.0.0.256\n", 5, "'10.0.0.256' is not an IPv4 address", ""),
    (NETWORK + "  gateway: fe80::1\n", 5, "here goes an IPv4 one", ""),
    ("kind: Network\nname: n\nspec: {cidr: 'fd00::/64'}\n", 3, "here goes an IPv4 one", ""),
    (
        "kind: Network\nname: n\nspec: {cidr: 10.0.0.5/24}\n",
        3,
        "host bits set; the network of that address is 10.0.0.0/24",
        "",
    ),
    ("kind: Network\nname: n\nspec: {cidr: 10.0.0.0}\n", 3, "no prefix length, e.g. 10.0.0.0/24", ""),
    ("kind: Network\nname: n\nspec: {cidr: 10.0.0.0/33}\n", 3, "number from 0 to 32", ""),
    ("kind: Network\nname: n\nspec: {cidr: 10.0.0.0/31}\n", 3, "too small", ""),
    ("kind: Network\nname: n\nspec: {cidr: 0.0.0.0/1}\n", 3, "too large", ""),
    ("kind: Network\nname: n\nspec: {cidr: 239.0.0.0/24}\n", 3, "multicast", ""),
    ("kind: Network\nname: n\nspec: {cidr: blue}\n", 3, "'blue' is not an IPv4 network, e.g.", ""),
    (PORT + "  mac: 0a:00:00:00:00\n", 5, "not a MAC address, e.g.", ""),
    (PORT + "  mac: 01:00:5e:00:00:01\n", 5, "multicast MAC", ""),
    (PORT + "  mac: 00:00:00:00:00:00\n", 5, "all zeros", ""),
    (
        "kind: ExternalNetwork\nname: e\nspec:\n  physnet: ext\n  cidr: 10.0.0.0/24\n  vlan: 4095\n",
        6,
        "at most 4094",
        "",
    ),
    (
        "kind: ExternalNetwork\nname: e\nspec:\n  physnet: ext\n  cidr: 10.0.0.0/24\n  pool:\n  - 10.0.0.9-10.0.0.2\n",
        7,
        "ends before it starts; write 10.0.0.2-10.0.0.9",
        "",
    ),
    (
        "kind: Router\nname: r\nspec:\n  gateways:\n    mode: active\n",
        5,
        "must be 'active-standby', 'shared', 'gateway-router' or 'active-active', not 'active'",
        "",
    ),
    ("kind: Router\nname: r\nspec:\n  external: public\n", 4, "'external' must be a mapping of fields", "field: value"),
    (
        "kind: Router\nname: r\nspec:\n  external:\n    network: e\n    nat: true\n",
        6,
        "unknown field 'nat'",
        "'snat'",
    ),
    ("kind: Router\nname: r\nspec:\n  routes:\n  - to: 10.0.0.0/8\n", 5, "'routes[0].via' is missing", "Next hop"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), MISTAKES)
def test_a_mistake_is_explained_at_its_line(text: str, line: int, message: str, hint: str):
    (problem,) = problems_of(text)
    assert problem.line == line
    assert message in problem.message
    assert hint in problem.hint
    assert "pydantic" not in problem.render()
    assert "Input should" not in problem.render()


def test_every_problem_of_a_file_is_reported_at_once_in_the_order_of_lines():
    alone = [text for text, *_ in MISTAKES if is_yaml(text)]
    whole = "\n---\n".join(alone)
    found = problems_of(whole)
    assert len(found) >= len(alone)
    assert [each.line for each in found] == sorted(each.line for each in found)


def is_yaml(text: str) -> bool:
    """Whether a text is readable YAML, so that more documents may follow it."""
    return not any(mark in text for mark in ("\x07", "\ud800", "[[[", "- - ", "{cidr: [}", "\t"))


def test_a_text_without_end_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ovenbird.model.located_yaml.MAX_CHARACTERS", 10)
    assert "longer than 10 characters" in problems_of("# " + "x" * 10)[0].message


@given(st.text(max_size=60) | st.text(alphabet="[]{}:-?&*!|>'\"#%@`, \nkindamespc:0", max_size=80))
def test_whatever_the_text_only_a_user_error_comes_out(text: str):
    try:
        parse_documents(text)
    except UserError as error:
        assert error.problems


NAMES = st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,6}[a-z0-9])?\Z") | st.sampled_from(
    ["no", "on", "1", "1.5", "1e3", "null"]
)
ADDRESSES = st.ip_addresses(v=4).map(str)
SPECS: st.SearchStrategy[Spec] = st.one_of(
    st.builds(
        ExternalNetwork,
        physnet=NAMES,
        vlan=st.none() | st.integers(1, 4094),
        cidr=st.just("10.0.0.0/24"),
        gateway=st.none() | ADDRESSES,
        pool=st.lists(ADDRESSES, max_size=2).map(tuple),
        mtu=st.integers(576, 9216),
    ),
    st.builds(
        Network,
        cidr=st.just("10.0.0.0/24"),
        router=st.none() | NAMES,
        dhcp=st.booleans(),
        dns=st.lists(ADDRESSES, max_size=2).map(tuple),
    ),
    st.builds(
        Router,
        external=st.none()
        | st.builds(RouterExternal, network=NAMES, address=st.none() | ADDRESSES, snat=st.booleans()),
        routes=st.lists(st.builds(Route, to=st.just("0.0.0.0/0"), via=ADDRESSES), max_size=2).map(tuple),
    ),
    st.builds(Port, network=NAMES, address=st.none() | ADDRESSES, mac=st.sampled_from([None, "10:20:30:40:50:58"])),
    st.builds(FloatingIP, network=NAMES, port=NAMES, distributed=st.booleans()),
)


class Written:
    def __init__(self, name: str, spec: Spec) -> None:
        self.kind, self.name, self.spec = type(spec).__name__, name, spec


@given(st.lists(st.builds(Written, NAMES, SPECS), max_size=5, unique_by=lambda each: (each.kind, each.name)))
def test_what_is_rendered_reads_back_the_same(objects: list[Written]):
    read = parse_documents(render_documents(objects))
    assert [(each.kind, each.name, each.spec) for each in read] == [
        (each.kind, each.name, each.spec) for each in objects
    ]


@pytest.mark.parametrize("name", ["08", "1.5e3", "1234", "0.5", "true"])
def test_text_that_could_be_read_as_something_else_is_put_in_quotes(name: str):
    (read,) = parse_documents(render_documents([Written(name, Router())]))
    assert read.name == name


@given(st.builds(Written, NAMES, SPECS))
def test_what_the_parser_accepts_the_schema_accepts(written: Written):
    document = {"kind": written.kind, "name": written.name, "spec": written.spec.model_dump(mode="json")}
    jsonschema.validate(document, SCHEMA)


SCHEMA = json_schema()


def test_the_schema_is_one_and_accepts_the_examples():
    import yaml

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for file in ("quickstart.yaml", "vlan-provider.yaml", "ipv6.yaml"):
        for document in yaml.safe_load_all((EXAMPLES / file).read_text()):
            jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Network", "name": "n"},
        {"kind": "Network", "name": "N", "spec": {"cidr": "10.0.0.0/24"}},
        {"kind": "Network", "name": "n", "spec": {"cidr": "10.0.0.0/24", "dcp": True}},
        {"kind": "Network", "name": "n", "spec": {"cidr": "10.0.0.0/24"}, "metadata": {}},
        {"kind": "Port", "name": "n", "spec": {"cidr": "10.0.0.0/24"}},
        {"kind": "Nothing", "name": "n", "spec": {}},
        {"kind": "Router", "name": "r", "spec": {"external": {"network": "e", "nat": True}}},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(document: dict[str, object]):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)
    problems_of(json.dumps(document))


def test_every_field_of_the_schema_is_described():
    for definition in SCHEMA["$defs"].values():
        assert definition["description"]
        for name, field in definition["properties"].items():
            assert field.get("description") or name == "spec", (definition["title"], name)


@pytest.mark.parametrize("name", ["08", "012", "0", "10", "1.5", "08.5", "no", "1e3"])
def test_a_name_that_looks_like_a_number_reads_back_as_itself(name: str) -> None:
    written = Written(name, ExternalNetwork(physnet=name, cidr="10.0.0.0/24"))
    (read,) = parse_documents(render_documents([written]))
    assert (read.name, read.spec) == (name, written.spec)
