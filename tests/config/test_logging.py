"""A log line never carries a credential, and its fields stand at the end."""

import json
import logging

from config.logging import JsonFormatter, TextFormatter, redact


def record(message, **fields):
    entry = logging.makeLogRecord({"name": "hub.x", "levelname": "INFO", "levelno": 20, "msg": message})
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


def test_fields_stand_at_the_end_of_the_line():
    assert (
        TextFormatter("hub")
        .format(record("job finished", job="ab", exit_code=0))
        .endswith("hub job finished job=ab exit_code=0")
    )


def test_json_has_the_fields_as_keys():
    event = json.loads(JsonFormatter("hub").format(record("job finished", exit_code=0)))
    assert (event["event"], event["exit_code"], event["process"]) == ("job finished", 0, "hub")


def test_credentials_are_blackened_wherever_they_stand():
    key = "mak_abcdefgh_" + "A" * 43 + "_x1"
    line = redact(f"url amqp://hub:s3cret@127.0.0.1 key {key} join maj1-abcdefgh234567abcdefgh Bearer zzz")
    assert "s3cret" not in line
    assert "AAAA" not in line
    assert "maj1-" not in line
    assert "zzz" not in line
    assert "127.0.0.1" in line
