"""Filters that make a text fit for HTML, XML, JSON, YAML, properties files and addresses."""

from __future__ import annotations

import re
from typing import Callable
from urllib.parse import quote

from runner.filters.call import Call, Filter, Refused

_XML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
_HTML = {**_XML, ord("/"): "&#x2F;"}
_JSON = str.maketrans({'"': '\\"', "\r": "\\r", "\t": "\\t", "\n": "\\n", "\\": "\\\\"})
_JSON.update({code: f"\\u{code:04x}" for code in range(32) if code not in _JSON})
_LINE_ENDS = re.compile(r"(?:\r?\n)+")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_NOT_LATIN = re.compile("[^\x00-\xfe]")
_PROPERTIES = str.maketrans({"\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"})
_PROPERTIES_KEY = {**_PROPERTIES, **str.maketrans({" ": "\\ ", ":": "\\:", "=": "\\="})}
_YAML = str.maketrans({"\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t", '"': '\\"'})
# What RFC 3986 keeps as it stands, and what marks an address's parts.
_URI_MARKS = "-_.~!*'();:@&=+$,/?#[]"


def html_escape(call: Call) -> str:
    return call.value.translate(_HTML)


def xml_escape(call: Call) -> str:
    return call.value.translate(_XML)


def json_escape(call: Call) -> str:
    return call.value.translate(_JSON)


def yaml_single_quote_escape(call: Call) -> str:
    """For a text in single quotes, where YAML reads one line's end as a space and two as one."""
    return _LINE_ENDS.sub(_one_more, call.value).replace("'", "''")


def _one_more(found: re.Match[str]) -> str:
    return ("\r\n" if found.group().startswith("\r") else "\n") + found.group()


def yaml_double_quote_escape(call: Call) -> str:
    return _NOT_ASCII.sub(_code_units, call.value.translate(_YAML))


def properties_key_escape(call: Call) -> str:
    return _NOT_LATIN.sub(_code_units, call.value.translate(_PROPERTIES_KEY))


def properties_value_escape(call: Call) -> str:
    text = call.value.translate(_PROPERTIES)
    return _NOT_LATIN.sub(_code_units, "\\" + text if text.startswith(" ") else text)


def _code_units(found: re.Match[str]) -> str:
    units = found.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def uri_escape(call: Call) -> str:
    return quote(call.value, safe=_URI_MARKS, errors="surrogateescape")


def uri_data_escape(call: Call) -> str:
    return quote(call.value, safe="-_.~", errors="surrogateescape")


def markdown(call: Call) -> str:
    del call
    raise Refused("Markdown is not part of the runner; render it before, and give the HTML as the value")


_ESCAPES: dict[str, Callable[[Call], str]] = {
    "HtmlEscape": html_escape,
    "XmlEscape": xml_escape,
    "JsonEscape": json_escape,
    "YamlSingleQuoteEscape": yaml_single_quote_escape,
    "YamlDoubleQuoteEscape": yaml_double_quote_escape,
    "PropertiesKeyEscape": properties_key_escape,
    "PropertiesValueEscape": properties_value_escape,
    "UriEscape": uri_escape,
    "UriDataEscape": uri_data_escape,
    "Markdown": markdown,
    "MarkdownToHtml": markdown,
}
FILTERS = {name: Filter(function) for name, function in _ESCAPES.items()}
