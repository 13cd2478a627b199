"""The URL of a broker: all its parts, and that no error repeats a secret."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from bridge.feeder.amqp_options import AmqpOptions, OptionsError, from_values, parse_url


@pytest.mark.parametrize("url", ["amqp://", "amqp://localhost", "amqp://localhost:5672/"])
def test_what_is_not_given_is_as_for_the_emperor(url: str) -> None:
    assert parse_url(url) == AmqpOptions(host="localhost", port=5672, user="guest", password="guest", vhost="/")


def test_a_whole_url() -> None:
    url = (
        "amqps://br%40idge:s%2Fe%3Asame@[2001:db8::1]:5000/fl%2Feet?exchange=e&queue=q&durable=false&heartbeat=30"
        "&cacertfile=/etc/ca.pem&certfile=/etc/c.pem&keyfile=/etc/k.pem"
    )
    found = parse_url(url)
    assert found == AmqpOptions(
        host="2001:db8::1",
        port=5000,
        user="br@idge",
        password="s/e:same",
        vhost="fl/eet",
        is_tls=True,
        ca_file="/etc/ca.pem",
        certificate_file="/etc/c.pem",
        key_file="/etc/k.pem",
        exchange="e",
        queue="q",
        is_durable=False,
        heartbeat=30,
    )
    assert found.place == "[2001:db8::1]:5000"
    assert from_values(asdict(found)) == found


def test_amqps_has_a_port_of_its_own() -> None:
    assert parse_url("amqps://host").port == 5671


def test_the_queue_is_this_host_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "web1")
    assert parse_url("amqp://host").queue_name == "emperor-bridge.web1"
    assert parse_url("amqp://host?queue=other").queue_name == "other"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("amqp://u:sesame@host:port/", "host or port"),
        ("amqp://u:sesame@[host/", "host or port"),
        ("amqp://u:sesame@host:99999/", "host or port"),
        ("http://u:sesame@host/", "not of the form"),
        ("amqp://u:sesame@host/v#x", "not of the form"),
        ("amqp://u:sesame@host/?queu=x", "'queu' is unknown"),
        ("amqp://u:sesame@host/?durable=maybe", "true or false"),
        ("amqp://u:sesame@host/?heartbeat=0", "10 to 30"),
        ("amqp://u:sesame@host/?heartbeat=60", "10 to 30"),
        ("amqp://u:sesame@host/?heartbeat=x", "number of seconds"),
        ("amqp://u:sesame@host/?exchange=", "default exchange"),
        ("amqp://u:sesame@host/?certfile=/c.pem", "together"),
        ("amqp://u:sesame@host/" + "v" * 256, "vhost has more than"),
    ],
)
def test_a_wrong_url_is_refused_without_its_secrets(url: str, reason: str) -> None:
    with pytest.raises(OptionsError, match=reason) as caught:
        parse_url(url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("values", [{"hots": "x"}, {"port": "5672"}, {"is_tls": 1}, {"host": None}])
def test_values_of_wrong_names_and_types_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(OptionsError):
        from_values(values)


def test_the_password_is_not_in_its_repr() -> None:
    assert "sesame" not in repr(AmqpOptions(password="sesame"))
