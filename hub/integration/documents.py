"""What is said and asked over AMQP, for programs that know nothing else of us: JSON Schemas, AsyncAPI. PURE.

Both are read off the very classes of which events are made and by which commands are judged. Events leave room for
further fields: whoever reads one takes what it knows and lets the rest be.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from hub.integration.cloud_event import CONTENT_TYPE, SEQUENCE_DIGITS, SPEC_VERSION
from hub.integration.command_types import ANSWER_NAME, ANSWER_TYPE, COMMAND_TYPES, CommandAnswer, CommandType
from hub.integration.event_types import EVENT_TYPES, EventType
from hub.integration.numbering import SCHEMAS_PATH
from hub.operations.body import Body
from wire import integration_topology as topology

JsonObject = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: JsonObject = {"type": "string", "minLength": 1}
_TIME: JsonObject = {"type": "string", "format": "date-time"}
_SOURCE = r"^/hubs/[0-9a-f-]+/epochs/[0-9]+(/projects/[0-9a-f]{32})?$"


def _event_schema(event_type: EventType) -> JsonObject:
    attributes = _attributes(event_type.type) | {
        "source": {"type": "string", "pattern": _SOURCE},
        "sequence": {"type": "string", "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"},
    }
    return _document(event_type.name, event_type.summary, attributes, event_type.data, needed=("sequence",))


def _command_schema(command: CommandType) -> JsonObject:
    attributes = {
        "specversion": {"const": SPEC_VERSION},
        "type": {"const": command.type},
        "id": _TEXT,
        "source": _TEXT,
        "idempotencykey": _TEXT | {"maxLength": 100},
        "expirytime": _TIME,
    }
    return _document(command.name, command.summary, attributes, command.body, needed=("idempotencykey",))


def _answer_schema() -> JsonObject:
    attributes = _attributes(ANSWER_TYPE) | {"source": {"type": "string", "pattern": _SOURCE}}
    return _document(ANSWER_NAME, "What became of a command", attributes, CommandAnswer)


def _attributes(type_: str) -> JsonObject:
    return {
        "specversion": {"const": SPEC_VERSION},
        "id": _TEXT,
        "source": _TEXT,
        "type": {"const": type_},
        "subject": _TEXT,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "correlationid": _TEXT,
    }


def _document(
    name: str, summary: str, attributes: JsonObject, data: type[BaseModel], needed: tuple[str, ...] = ()
) -> JsonObject:
    described = data.model_json_schema(ref_template="#/$defs/{model}")
    # What a command does not name is refused; whoever reads what we say must bear a further field.
    described = described if issubclass(data, Body) else _opened(described)
    definitions = described.pop("$defs", {})
    found: JsonObject = {
        "$schema": DIALECT,
        "$id": f"{SCHEMAS_PATH}/{name}",
        "title": name,
        "description": summary,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data", *needed],
        "properties": attributes | {"data": described},
    }
    return found | ({"$defs": definitions} if definitions else {})


def _opened(schema: Any) -> Any:
    """Without what closes an object: further fields may come."""
    if isinstance(schema, dict):
        return {name: _opened(value) for name, value in schema.items() if name != "additionalProperties" or value}
    return [_opened(value) for value in schema] if isinstance(schema, list) else schema


SCHEMAS: Mapping[str, JsonObject] = {
    **{event_type.name: _event_schema(event_type) for event_type in EVENT_TYPES},
    **{command.name: _command_schema(command) for command in COMMAND_TYPES},
    ANSWER_NAME: _answer_schema(),
}


def asyncapi(broker_url: str) -> JsonObject:
    """The document; from the hub's side: it sends events, and receives commands.

    Args:
        broker_url: Scheme, host and port; "" leaves the server out.
    """
    channels = {_channel_name(each.name): _event_channel(each) for each in EVENT_TYPES}
    channels |= {_channel_name(each.name): _command_channel(each) for each in COMMAND_TYPES}
    channels["answers"] = {
        "address": "consumer.{consumer}.answers",
        "parameters": {"consumer": {"description": "Whose queue it is: the id of who asked."}},
        "messages": {ANSWER_NAME: _message_ref(ANSWER_NAME)},
        "bindings": {"amqp": {"is": "queue", "queue": {"durable": True, "vhost": topology.VHOST}}},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Manyarm events and commands",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 over AMQP 0-9-1. Events are numbered without holes in each source.",
        },
        "defaultContentType": CONTENT_TYPE.partition(";")[0],
        **({"servers": {"broker": _server(broker_url)}} if broker_url else {}),
        "channels": channels,
        "operations": {
            **{_channel_name(each.name): _operation("send", each.name, each.summary) for each in EVENT_TYPES},
            **{_channel_name(each.name): _command_operation(each) for each in COMMAND_TYPES},
        },
        "components": {"messages": {name: _message(name, schema) for name, schema in SCHEMAS.items()}},
    }


def _server(broker_url: str) -> JsonObject:
    parts = urlsplit(broker_url)
    return {"host": parts.netloc, "protocol": parts.scheme, "pathname": f"/{topology.VHOST}"}


def _event_channel(event_type: EventType) -> JsonObject:
    return {
        "address": topology.event_key("{project}", "{environment}", event_type.entity, event_type.verb),
        "parameters": {
            "project": {"description": "Its name as a word, `_` for none: what is no a-z, 0-9 or `-` is `_hex_`."},
            "environment": {"description": "Alike."},
        },
        "messages": {event_type.name: _message_ref(event_type.name)},
        "bindings": {"amqp": _exchange(topology.EVENTS)},
    }


def _command_channel(command: CommandType) -> JsonObject:
    return {
        "address": command.key,
        "messages": {command.name: _message_ref(command.name)},
        "bindings": {"amqp": _exchange(topology.COMMANDS)},
    }


def _exchange(name: str) -> JsonObject:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False, "vhost": topology.VHOST}
    return {"is": "routingKey", "exchange": exchange}


def _operation(action: str, name: str, summary: str) -> JsonObject:
    channel = f"#/channels/{_channel_name(name)}"
    return {"action": action, "summary": summary, "channel": {"$ref": channel}}


def _command_operation(command: CommandType) -> JsonObject:
    reply = {
        "address": {"location": "$message.header#/replyTo", "description": "The queue of answers of who asks, alone."},
        "channel": {"$ref": "#/channels/answers"},
    }
    return _operation("receive", command.name, command.summary) | {"reply": reply}


def _message(name: str, schema: JsonObject) -> JsonObject:
    found: JsonObject = {
        "name": schema["properties"]["type"]["const"],
        "summary": schema["description"],
        "contentType": CONTENT_TYPE.partition(";")[0],
        "payload": {"$ref": f"{SCHEMAS_PATH}/{name}"},
    }
    if name in {command.name for command in COMMAND_TYPES}:
        token = {"type": "string", "pattern": "^Bearer mak_", "description": "An API key that is limited to scopes."}
        found["headers"] = {"type": "object", "required": ["authorization"], "properties": {"authorization": token}}
    return found


def _message_ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/messages/{name}"}


def _channel_name(name: str) -> str:
    return name.replace(".", "-")
