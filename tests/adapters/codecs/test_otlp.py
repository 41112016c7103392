"""Spans in OTLP's binary form, as OpenTelemetry's own package reads them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from adapters.clients import otlp as otlp
from engine.model.spans import Kind, Span
from tests.support.examples import examples

NUMBERS = st.integers(0, 2**63 - 1)
SPANS = st.builds(
    Span,
    name=st.text(max_size=300),
    kind=st.sampled_from(Kind),
    trace=st.binary(min_size=16, max_size=16),
    span=st.binary(min_size=8, max_size=8),
    parent=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8)),
    start_us=st.integers(0, 2**53),
    end_us=st.integers(0, 2**53),
    attributes=st.lists(st.tuples(st.text(max_size=40), st.one_of(st.text(max_size=300), NUMBERS))).map(tuple),
    failed=st.booleans(),
)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(SPANS, max_size=5), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_each_span_is_read_as_it_was_written(spans: list[Span], resource: dict[str, str]) -> None:
    read = ExportTraceServiceRequest.FromString(otlp.request(spans, resource))
    (of_resource,) = read.resource_spans
    (of_scope,) = of_resource.scope_spans
    assert {one.key: one.value.string_value for one in of_resource.resource.attributes} == resource
    assert of_scope.scope.name == "labrelay"
    assert [back(one) for one in of_scope.spans] == spans


def back(one: trace_pb2.Span) -> Span:
    assert one.start_time_unix_nano % 1000 == one.end_time_unix_nano % 1000 == 0
    assert one.status.code in (trace_pb2.Status.STATUS_CODE_UNSET, trace_pb2.Status.STATUS_CODE_ERROR)
    return Span(
        name=one.name,
        kind=Kind(one.kind),
        trace=one.trace_id,
        span=one.span_id,
        parent=one.parent_span_id,
        start_us=one.start_time_unix_nano // 1000,
        end_us=one.end_time_unix_nano // 1000,
        attributes=tuple(
            (each.key, each.value.string_value if each.value.HasField("string_value") else each.value.int_value)
            for each in one.attributes
        ),
        failed=one.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


@settings(max_examples=examples(50), deadline=None)
@given(NUMBERS, st.text(max_size=300))
def test_the_number_of_refused_spans_is_read(number: int, text: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=number, error_message=text)
    assert otlp.rejected(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == number
    swapped = ExportTracePartialSuccess(error_message=text).SerializeToString() + b"\x08\x07"  # in any order
    assert otlp.rejected(b"\x0a" + otlp._varint(len(swapped)) + swapped) == 7


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=40))
def test_an_answer_that_is_none_refuses_no_span_or_says_a_number(answer: bytes) -> None:
    assert otlp.rejected(answer) >= 0


def test_answers_without_a_number_refuse_no_span() -> None:
    answers = (b"", b"{}", b'{"partialSuccess": {}}', b"\xff" * 65536, b"\x0a\x00", b"\x0a\xff", b"\x0a\x02\x08")
    assert [otlp.rejected(one) for one in answers] == [0] * len(answers)
