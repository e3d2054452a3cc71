"""Settings: read once from the environment, refused with their name, documented one by one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kilter.service.detector import KilterError
from kilter.service.settings import Settings, read_settings, unknown_variables

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
VARIABLES = [f"KILTER_{name.upper()}" for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the environment of whoever runs the tests."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_a_laptop_is_safe_by_default() -> None:
    """Nothing listens beyond this machine unless told to."""
    assert (read_settings().host, read_settings().port) == ("127.0.0.1", 8000)


def test_the_environment_is_read_and_arguments_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """KILTER_PORT sets the port, unless the command line does; an empty variable is none."""
    monkeypatch.setenv("KILTER_PORT", "9000")
    monkeypatch.setenv("KILTER_HOST", "")
    assert (read_settings().port, read_settings().host) == (9000, "127.0.0.1")
    assert read_settings(port=9001).port == 9001


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KILTER_PORT", "http"),
        ("KILTER_PORT", "65536"),
        ("KILTER_DEVICE", "gpu"),
        ("KILTER_MAX_BODY_BYTES", "0"),
        ("KILTER_MAX_RECORDS", "many"),
        ("KILTER_LOG_LEVEL", "loud"),
        ("KILTER_WATCH_SECONDS", "-1"),
        ("KILTER_MAX_VERSIONS", "0"),
        ("KILTER_SHADOW", "shop"),
        ("KILTER_SHADOW", "shop=0"),
        ("KILTER_SHADOW", "shop=2,../x=latest"),
        ("KILTER_SHUTDOWN_SECONDS", "-1"),
        ("KILTER_METRICS_PORT", "0"),
        ("KILTER_TRUSTED_PROXIES", "10.0.0.1, proxy"),
    ],
)
def test_a_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The message names the variable, its value and what it takes."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(KilterError, match=f"^{variable}='{value}': .*; it is the .*"):
        read_settings()


def test_no_message_holds_a_regular_expression() -> None:
    """It says in words what a value looks like."""
    for wrong in ({"device": "gpu"}, {"shadow": "shop"}):
        with pytest.raises(KilterError, match=r": not of that form; it is the .*`") as caught:
            read_settings(**wrong)
        assert "(" not in str(caught.value)
        assert "pattern" not in str(caught.value)


def test_every_bad_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mistakes are two lines, an argument's by the name of its option."""
    monkeypatch.setenv("KILTER_MAX_RECORDS", "many")
    with pytest.raises(KilterError, match=r"--device='gpu'(.|\n)*KILTER_MAX_RECORDS='many'"):
        read_settings(device="gpu")


def test_what_kubernetes_sets_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of a Service that is called kilter is told from a mistake."""
    monkeypatch.setenv("KILTER_PORT", "tcp://10.0.0.7:80")
    with pytest.raises(KilterError, match="enableServiceLinks: false"):
        read_settings()


def test_settings_never_change() -> None:
    """What was read at the start holds until the end."""
    with pytest.raises(ValidationError):
        read_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_in_its_document(variable: str) -> None:
    """The table of docs/operations.md has each setting with its default."""
    default = Settings.model_fields[variable.removeprefix("KILTER_").lower()].default
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{variable}`")]
    assert len(rows) == 1, f"the table of settings lacks {variable}"
    assert f"| `{default}` |" in rows[0]


@given(st.sampled_from(VARIABLES), st.data())
def test_a_mistyped_variable_is_named_with_the_one_meant(variable: str, data: st.DataObject) -> None:
    """A letter left out, doubled, or two of them the wrong way round; in whatever case it is written."""
    at = data.draw(st.integers(len("KILTER_"), len(variable) - 2))
    typed = data.draw(
        st.sampled_from(
            [
                variable[:at] + variable[at + 1 :],
                variable[:at] + variable[at] + variable[at:],
                variable[:at] + variable[at + 1] + variable[at] + variable[at + 2 :],
            ]
        )
    )
    if typed in VARIABLES:
        assert unknown_variables({typed: "1"}) == []
        return
    for name in (typed, typed.lower()):
        [message] = unknown_variables({name: "1", "PATH": "/bin"})
        assert message == f"{name} is no setting, and nothing reads it: did you mean {variable}?"


@pytest.mark.parametrize("name", [*VARIABLES, *map(str.lower, VARIABLES), "PATH", "_KILTER_COMPLETE", "KILT"])
def test_settings_and_the_variables_of_others_are_not_named(name: str) -> None:
    """Only what begins as a setting does can be meant for one."""
    assert unknown_variables({name: "1"}) == []


def test_what_is_like_no_setting_is_named_all_the_same() -> None:
    """With the place where all are listed; several in the order of their names."""
    assert unknown_variables({"KILTER_ZZZ": "", "KILTER_PROT": "1"}) == [
        "KILTER_PROT is no setting, and nothing reads it: did you mean KILTER_PORT?",
        "KILTER_ZZZ is no setting, and nothing reads it: docs/operations.md lists the settings",
    ]


@pytest.mark.parametrize("service", ["KILTER", "KILTER_CANARY"])
def test_what_kubernetes_sets_is_not_named(service: str) -> None:
    """For a Service whose name begins with kilter; nobody typed it."""
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_PROTO": "tcp",
        "PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert unknown_variables({f"{service}_{name}": value for name, value in links.items()}) == []
