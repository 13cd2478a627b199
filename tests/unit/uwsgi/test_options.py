from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.uwsgi.options import Config, Option

KEYS = st.lists(st.sampled_from("abcd"), max_size=6)


@given(KEYS, KEYS)
def test_options_are_found_by_name(written: list[str], wanted: list[str]) -> None:
    options = tuple(Option(key, str(line), "/v.ini", line) for line, key in enumerate(written, 1))
    config = Config("/v.ini", options)
    found = [option for option in options if option.key in wanted]
    assert list(config.all(*wanted)) == found
    assert config.last(*wanted) == (found[-1] if found else None)


def test_a_config_is_compared_by_what_it_holds() -> None:
    option = Option("a", "1", "/v.ini", 1)
    assert Config("/v.ini", (option,)) == Config("/v.ini", (option,)) != Config("/v.ini", ())
    assert "_latest" not in repr(Config("/v.ini", (option,)))
