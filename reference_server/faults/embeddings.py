"""Faults of embeddings: vectors that are not those asked for, or not of this input."""

import base64
import sys
from array import array
from dataclasses import replace

from ..call import Call
from ..errors import ApiError
from ..jsontext import Json, Verbatim
from ..script import Reply
from .table import fault

__all__: list[str] = []


def _is_embedding(call: Call) -> bool:
    return call.route == ("embeddings",) and isinstance(call.payload, dict)


def _rows(value: Json) -> list[Json]:
    """Return the entries of an answer; of anything else, none."""
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list):
        return []
    return [row for row in data if isinstance(row, dict) and row.get("object") == "embedding"]


def _without(call: Call, name: str) -> Call:
    if not _is_embedding(call) or name not in call.payload:
        return call
    kept = {key: value for key, value in call.payload.items() if key != name}
    return replace(call, payload=kept, changed=True)


def _decoded(text: str) -> "array[float]":
    values = array("f", base64.b64decode(text))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _reencoded(value: Json, code: str, *, big: bool) -> Json:
    for row in _rows(value):
        if isinstance(row["embedding"], str):
            values = array(code, _decoded(row["embedding"]))
            if big != (sys.byteorder == "big"):
                values.byteswap()
            row["embedding"] = base64.b64encode(values.tobytes()).decode()
    return value


@fault("embeddings-base64-ignored", "request", "Gives numbers where base64 was asked for.",
       "servers that know floats only")  # fmt: skip
def _base64_ignored(call: Call) -> Call:
    return _without(call, "encoding_format")


@fault("embeddings-base64-float64", "json", "Writes base64 of 64-bit numbers.")
def _base64_float64(value: Json) -> Json:
    return _reencoded(value, "d", big=False)


@fault("embeddings-base64-big-endian", "json", "Writes base64 in the other order of bytes.")
def _base64_big(value: Json) -> Json:
    return _reencoded(value, "f", big=True)


@fault("embeddings-float-differs", "json", "Gives other numbers as floats than as base64.",
       "rounding on the way")  # fmt: skip
def _float_differs(value: Json) -> Json:
    for row in _rows(value):
        if isinstance(row["embedding"], list):
            row["embedding"] = [-number for number in row["embedding"]]
    return value


@fault("embeddings-strings", "json", "Writes the numbers of a vector as strings.")
def _strings(value: Json) -> Json:
    for row in _rows(value):
        if isinstance(row["embedding"], list):
            row["embedding"] = [str(number) for number in row["embedding"]]
    return value


@fault("embeddings-nan", "json", "Writes NaN into a vector, which is not JSON.")
def _nan(value: Json) -> Json:
    for row in _rows(value):
        if isinstance(row["embedding"], list):
            row["embedding"][0] = Verbatim("NaN")
    return value


@fault("embeddings-vector-empty", "json", "Gives vectors without any number.")
def _empty(value: Json) -> Json:
    for row in _rows(value):
        row["embedding"] = "" if isinstance(row["embedding"], str) else []
    return value


@fault("embeddings-order", "json", "Lists the entries in the reverse order of the inputs.",
       "answers of several batches")  # fmt: skip
def _order(value: Json) -> Json:
    rows = _rows(value)
    return {**value, "data": rows[::-1]} if rows else value


@fault("embeddings-swapped", "json", "Gives the first and the last input each other's vector.",
       "answers of several batches")  # fmt: skip
def _swapped(value: Json) -> Json:
    rows = _rows(value)
    if rows:
        first, last = rows[0]["embedding"], rows[-1]["embedding"]
        rows[0]["embedding"], rows[-1]["embedding"] = last, first
    return value


@fault("embeddings-index-zero", "json", "Gives every entry the index 0.")
def _index_zero(value: Json) -> Json:
    for row in _rows(value):
        row["index"] = 0
    return value


@fault("embeddings-entry-lost", "json", "Leaves out the last of several entries.")
def _entry_lost(value: Json) -> Json:
    rows = _rows(value)
    return {**value, "data": rows[:-1]} if len(rows) > 1 else value


@fault("embeddings-length-differs", "json", "Cuts every vector but the first.")
def _length_differs(value: Json) -> Json:
    for row in _rows(value)[1:]:
        cut = 16 if isinstance(row["embedding"], str) else 3
        row["embedding"] = row["embedding"][:-cut]
    return value


@fault("embeddings-dimensions-ignored", "request", "Gives whole vectors where short ones were "
       "asked for.")  # fmt: skip
def _dimensions_ignored(call: Call) -> Call:
    return _without(call, "dimensions")


@fault("embeddings-model-other", "json", "Names another model than the one asked for.")
def _model_other(value: Json) -> Json:
    return {**value, "model": "another-model"} if _rows(value) else value


@fault("embeddings-usage-missing", "json", "Gives embeddings without usage.")
def _usage_missing(value: Json) -> Json:
    if _rows(value):
        value.pop("usage", None)
    return value


@fault("embeddings-usage-differs", "json", "Counts more tokens in all than in the prompt.")
def _usage_differs(value: Json) -> Json:
    if _rows(value) and "usage" in value:
        value["usage"]["total_tokens"] += 1
    return value


@fault("embeddings-list-refused", "request", "Refuses a list of inputs.")
def _list_refused(call: Call) -> Call:
    if not _is_embedding(call) or not isinstance(call.payload.get("input"), list):
        return call
    return replace(call, problem=ApiError(400, "'input' has to be a string.", param="input"))


@fault("embeddings-tokens-500", "reply", "Fails on an input that is given as tokens.",
       "servers that know texts only")  # fmt: skip
def _tokens_500(reply: Reply, call: Call) -> Reply:
    given = call.payload.get("input") if _is_embedding(call) else None
    if not isinstance(given, list) or not given or isinstance(given[0], str):
        return reply
    error = {"message": "Internal error.", "type": "server_error", "param": None, "code": None}
    return replace(reply, status=500, body={"error": error}, error=True)


def _filled(call: Call, given: Json) -> Call:
    return replace(call, payload={**call.payload, "input": given}, changed=True)


@fault("embeddings-empty-200", "reply", "Answers an empty list of inputs with an empty list.",
       "clients that read data[0]")  # fmt: skip
def _empty_200(reply: Reply, call: Call) -> Reply:
    if not _is_embedding(call) or call.payload.get("input") != []:
        return reply
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    body = {"object": "list", "data": [], "model": call.payload.get("model"), "usage": usage}
    return replace(reply, status=200, body=body, error=False)


@fault("embeddings-missing-input-200", "request", "Answers a request that has no input.")
def _missing_input_200(call: Call) -> Call:
    if not _is_embedding(call) or "input" in call.payload:
        return call
    return _filled(call, " ")
