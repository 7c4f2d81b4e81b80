"""Checks of embeddings: their form, their order, and that both ways to write numbers agree."""

import base64
import binascii
import math
import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, each, named_model, shown
from .refusal import answered, turned_down
from .scenarios.embeddings import DIMENSIONS, EMPTY, FORMS, LENGTH, LIST, NO_INPUT, SINGLE, TEXTS

# Two vectors of one text are closer than this in any service; of these texts, they never are.
SAME = 0.99
# Numbers that were read in another order of bytes, or of another width, are of any size.
PLAUSIBLE = 4.0
# How a form that a model does not take is refused.
UNTAKEN = (400, 422)
# Models and their batches are not exact (emb.float, reading).
TOLERANCE = 1e-4


def entries(exchange: Exchange) -> list[Mapping[str, Any]]:
    """Return the entries of an answer; ``Untestable`` when it has none."""
    found = list(openai.objects(openai.answer(exchange).get("data")))
    if not found:
        raise Untestable("the answer has no data (see emb.schema)")
    return found


def numbers(value: object) -> list[float] | None:
    """Return a vector that is written as a list of finite numbers, else ``None``."""
    if not isinstance(value, list) or not all(openai.is_number(item) for item in value):
        return None
    return [float(item) for item in value]


def decoded(value: object) -> list[float] | None:
    """Return a vector that is written as base64 of little-endian float32, else ``None``."""
    if not isinstance(value, str):
        return None
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return None if len(raw) % 4 else list(struct.unpack(f"<{len(raw) // 4}f", raw))


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors; 0 when they cannot be compared."""
    if len(one) != len(other):
        return 0.0
    size = math.hypot(*one) * math.hypot(*other)
    return math.fsum(map(operator.mul, one, other)) / size if size else 0.0


def _labelled(seen: Transcript, label: str) -> tuple[Place, Exchange] | None:
    return next(((at, item) for at, item in each(seen) if item.ask.label == label), None)


def _vector(exchange: Exchange) -> list[float]:
    found = numbers(entries(exchange)[0].get("embedding"))
    if not found:
        raise Untestable("the embedding is no list of numbers (see emb.float)")
    return found


@check("emb.answers", on=[SINGLE])
def test_input_is_embedded(seen: Transcript) -> None:
    """A text is answered with 200 and a JSON object."""
    got = accepted(seen[0], wanted="200 and JSON")
    try:
        value = openai.loads(got.body)
    except (ValueError, RecursionError):
        value = None
    right = isinstance(value, dict) and got.media_type == "application/json"
    expect(right, wanted="a JSON object, as application/json", got=shown(got))


@check("emb.schema", on=[SINGLE, LIST])
def test_answer_has_its_members(seen: Transcript) -> None:
    """The answer has object, data of entries, the model and usage."""
    value = openai.answer(seen[0])
    expect(value.get("object") == "list", wanted='object: "list"', got=value.get("object"))
    data = value.get("data")
    expect(isinstance(data, list) and data, wanted="data: a list of entries", got=data)
    assert isinstance(data, list)
    for place, entry in enumerate(data):
        expect(isinstance(entry, dict), wanted=f"data[{place}]: an object", got=entry)
        told = entry.get("object"), entry.get("index")
        expect(
            told[0] == "embedding" and openai.is_int(told[1]),
            wanted=f"data[{place}]: object embedding, and an index",
            got=f"object {told[0]!r}, index {told[1]!r}",
        )
        expect(
            isinstance(entry.get("embedding"), list | str),
            wanted=f"data[{place}]: an embedding",
            got=f"embedding: {entry.get('embedding')!r}",
        )
    expect(isinstance(value.get("model"), str), wanted="model: a text", got=value.get("model"))
    expect(isinstance(value.get("usage"), dict), wanted="a usage object", got=value.get("usage"))


@check("emb.float", on=[SINGLE])
def test_numbers_are_numbers(seen: Transcript) -> str:
    """encoding_format float, or none, gives finite numbers, those that base64 gives."""
    vectors = []
    for label in ("float", "default"):
        found = _labelled(seen, label)
        assert found is not None
        at, exchange = found
        got = openai.response(exchange)
        if got.status == 200 and b"NaN" in got.body:
            expect(condition=False, wanted="finite numbers", got="NaN, which is not JSON", at=at)
        value = entries(exchange)[0].get("embedding")
        vector = numbers(value)
        expect(vector is not None, wanted="a list of finite numbers", got=value, at=at)
        if not vector:
            raise Untestable("the vector is empty (see emb.same-length)")
        vectors.append(vector)
    found = _labelled(seen, "base64")
    if found is None or openai.response(found[1]).status != 200:
        return "not compared with base64"
    value = entries(found[1])[0].get("embedding")
    other = decoded(value)
    if other is None or not _plausible(other, vectors[0]):
        raise Untestable("base64 gives no such vector (see emb.base64-default)")
    size = max(map(abs, vectors[0]))
    worst = max(abs(a - b) for a, b in zip(vectors[0], other, strict=True))
    expect(
        worst <= TOLERANCE * size,
        wanted=f"the numbers that base64 gives, within {TOLERANCE:g} of {size:.4g}",
        got=f"they differ by up to {worst:.4g}",
        at=found[0],
    )
    return f"as base64, within {worst / size:.1e}" if size else "as base64"


@check("emb.base64-default", on=[SINGLE])
def test_base64_is_float32(seen: Transcript) -> str:
    """encoding_format base64 gives little-endian float32, or is refused with a clean 4xx."""
    found = _labelled(seen, "base64")
    if found is None:
        raise Untestable("base64 was not asked for")
    at, exchange = found
    status = openai.response(exchange).status
    if status in UNTAKEN:
        return f"refused with {status}"
    accepted(exchange, wanted="base64, or a clean 400 or 422", at=at)
    value = entries(exchange)[0].get("embedding")
    vector = decoded(value)
    expect(
        isinstance(value, str) and vector,
        wanted="an embedding that is base64 of float32 numbers",
        got=value,
        at=at,
    )
    plain = _vector(seen[0])
    assert vector is not None
    expect(
        len(vector) == len(plain),
        wanted=f"{len(plain)} numbers of 32 bits, as without base64",
        got=f"{len(vector)} of them",
        at=at,
    )
    expect(
        _plausible(vector, plain),
        wanted="little-endian float32 numbers, of the size of those without base64",
        got=f"{vector[:4]}, and not {plain[:4]}",
        at=at,
    )
    return f"{len(vector)} numbers"


def _plausible(vector: Sequence[float], plain: Sequence[float]) -> bool:
    """Tell whether numbers are of the number and the size of those that come as a list."""
    if len(vector) != len(plain) or not all(map(math.isfinite, vector)):
        return False
    one, other = math.hypot(*vector), math.hypot(*plain)
    return one <= PLAUSIBLE * other and other <= PLAUSIBLE * one


@check("emb.order-index", across=[LIST, SINGLE])
def test_order_is_kept(several: Transcript, single: Transcript) -> None:
    """A list of inputs gives one entry for each, numbered from 0, in the inputs' order."""
    found = entries(several[0])
    indices = [entry.get("index") for entry in found]
    wanted = list(range(len(TEXTS)))
    expect(indices == wanted, wanted=f"indices {wanted}", got=indices)
    first = _vector(single[0])
    vectors = [numbers(entry.get("embedding")) or [] for entry in found]
    like = [likeness(first, vector) for vector in vectors]
    if max(like) < SAME:
        raise Untestable("no entry has the vector of the first text (see emb.same-length)")
    expect(
        like.index(max(like)) == 0,
        wanted="the first input's vector as the first entry",
        got=f"it is entry {like.index(max(like))}",
    )


@check("emb.same-length", on=[LIST])
def test_vectors_have_one_length(seen: Transcript) -> str:
    """All vectors of one answer have the same length, and it is not 0."""
    found = [entry.get("embedding") for entry in entries(seen[0])]
    vectors = [value for value in found if isinstance(value, list)]
    if len(vectors) < len(found):
        raise Untestable("an embedding is no list of numbers (see emb.schema)")
    lengths = {len(vector) for vector in vectors}
    expect(
        len(lengths) == 1 and 0 not in lengths,
        wanted="one length, not 0",
        got=f"lengths {sorted(lengths)}",
    )
    return f"{lengths.pop()} numbers"


@check("emb.dimensions", on=[DIMENSIONS])
def test_dimensions_are_kept(seen: Transcript) -> str:
    """Dimensions gives vectors of that length, or is refused with 400 or 422."""
    status = openai.response(seen[0]).status
    if status in UNTAKEN:
        return f"refused with {status}"
    accepted(seen[0], wanted=f"{LENGTH} numbers, or a clean 400 or 422")
    value = entries(seen[0])[0].get("embedding")
    if not isinstance(value, list):
        raise Untestable("the embedding is no list of numbers (see emb.float)")
    expect(len(value) == LENGTH, wanted=f"{LENGTH} numbers", got=f"{len(value)} of them")
    return "kept"


@check("emb.input-forms", on=[FORMS])
def test_input_forms_are_taken(seen: Transcript) -> str:
    """Input may be a string, a list of strings, tokens, and lists of tokens."""
    told = []
    for at, exchange in each(seen):
        label = exchange.ask.label
        got = openai.response(exchange)
        if "tokens" in label and got.status in UNTAKEN:
            told.append(f"{label} refused")
            continue
        accepted(exchange, wanted=f"200 to {label}", at=at)
        count = len(entries(exchange))
        wanted = 2 if label in ("a list of strings", "lists of tokens") else 1
        expect(
            count == wanted,
            wanted=f"{wanted} entries for {label}",
            got=f"{count} of them",
            at=at,
        )
    return ", ".join(told)


@check("emb.empty", on=[EMPTY])
def test_empty_list_is_refused(seen: Transcript) -> None:
    """An empty list of inputs is refused with a 4xx."""
    turned_down(seen[0], wanted="a 4xx to an empty list")


@check("emb.missing-input", on=[NO_INPUT])
def test_missing_input_is_refused(seen: Transcript) -> None:
    """A request without input is refused with 400 or 422."""
    got = openai.response(seen[0])
    refused = got.status in (400, 422) and not answered(seen[0])
    expect(refused, wanted="400 or 422 to a request without input", got=shown(got))


@check("emb.usage", on=[SINGLE, LIST])
def test_usage_counts_the_prompt(seen: Transcript) -> str:
    """Usage has prompt_tokens and total_tokens, two equal integers."""
    usage = openai.answer(seen[0]).get("usage")
    found = usage if isinstance(usage, dict) else {}
    counts = [found.get(name) for name in ("prompt_tokens", "total_tokens")]
    whole = all(openai.is_int(count) and count >= 0 for count in counts)
    expect(
        whole and counts[0] == counts[1],
        wanted="prompt_tokens and total_tokens, two equal integers",
        got=f"usage: {usage!r}",
    )
    return f"{counts[0]} tokens"


@check("emb.model", on=[SINGLE])
def test_answer_names_its_model(seen: Transcript) -> str:
    """The answer's model is the requested one, or a dated or prefixed form of it."""
    return named_model(seen[0], openai.answer(seen[0]).get("model"), "emb.schema")
