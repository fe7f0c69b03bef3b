"""What surrounds the work: ids, token, health, version, metrics, pages and the OpenAPI document."""

from __future__ import annotations

import lzma
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fsnp_onnx.runtime.bundled import MODELS
from fsnp_onnx.serve import page
from fsnp_onnx.serve.app import create_app
from tests.serve.conftest import LIMITS

TOKEN = "a secrét"


def test_health_and_version_answer(client: TestClient) -> None:
    assert client.get("/v1/health/live").json() == {"status": "live"}
    assert client.get("/v1/health/ready").json() == {"status": "ready"}
    document = client.get("/v1/version").json()
    assert document["models"]["live"]["interface"] == "stream"
    assert document["limits"]["max_mb"] == 1


def test_a_request_keeps_its_id_and_gets_one_if_it_has_none_or_a_bad_one(
    client: TestClient,
) -> None:
    given = client.get("/v1/version", headers={"X-Request-Id": "job-7.b"})
    assert given.headers["x-request-id"] == "job-7.b"
    for bad in ("two words", "x" * 65, "a\tb"):
        answer = client.get("/v1/version", headers={"X-Request-Id": bad})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    wrong = client.get("/nothing", headers={"X-Request-Id": "lost"})
    assert (wrong.status_code, wrong.json()["request_id"]) == (404, "lost")


def test_metrics_count_requests_audio_and_streams(client: TestClient, wav: bytes) -> None:
    def number(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(name))

    names = ('fsnp_requests_total{outcome="200",path="/v1/enhance"}', "fsnp_audio_seconds_total")
    before = [number(name) for name in names]
    client.post("/v1/enhance", content=wav)
    client.post("/v1/enhance", content=b"no sound")
    assert [number(name) for name in names] == [before[0] + 1, before[1] + 1.0]
    assert number('fsnp_requests_total{outcome="422",path="/v1/enhance"}') >= 1
    streams = number("fsnp_streams_total")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/other"):
        pass
    assert number('fsnp_requests_total{outcome="403",path="other"}') >= 1
    assert number("fsnp_streams_total") == streams, "none was open"
    assert number("fsnp_rtf_count") >= 1
    assert number("fsnp_places_held") == number("fsnp_open_streams") == 0


def test_a_token_is_asked_for_where_work_or_numbers_are(
    monkeypatch: pytest.MonkeyPatch, wav: bytes
) -> None:
    monkeypatch.setenv("FSNP_SERVE_TOKEN", TOKEN)
    right: Any = {"Authorization": f"Bearer {TOKEN}".encode()}
    with TestClient(create_app(LIMITS)) as client:
        for wrong in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic secret"}):
            answer = client.post("/v1/enhance", content=wav, headers=wrong)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            for path in ("/metrics", "/v1/version", "/v1/version%0A"):
                assert client.get(path, headers=wrong).status_code == 401
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/v1/stream", headers=wrong),
            ):
                pass
            assert refused.value.status_code == 401
        assert client.post("/v1/enhance", content=wav, headers=right).status_code == 200
        with client.websocket_connect("/v1/stream", headers=right) as stream:
            stream.send_json({"sample_rate_hz": 16000})
            assert stream.receive_json()["sample_rate_hz"] == 16000
        assert client.get("/v1/health/ready").status_code == 200


def test_a_page_of_another_site_is_refused_and_one_of_the_service_is_not(
    client: TestClient, wav: bytes
) -> None:
    host = client.base_url.host
    for foreign in ("https://elsewhere.example", f"http://{host}:81", "null"):
        origin = {"Origin": foreign}
        answer = client.post("/v1/enhance", content=wav, headers=origin)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"]
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/v1/stream", headers=origin),
        ):
            pass
        assert refused.value.status_code == 403
        assert client.get("/v1/health/live", headers=origin).status_code == 200
    own = {"Origin": f"https://{host}"}  # a proxy may have added TLS
    assert client.post("/v1/enhance", content=wav, headers=own).status_code == 200
    with client.websocket_connect("/v1/stream", headers=own) as stream:
        stream.send_json({"sample_rate_hz": 16000})
        assert stream.receive_json()["sample_rate_hz"] == 16000


def test_the_openapi_document_names_every_route_and_nothing_else(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    routes = [r for r in client.app.routes if isinstance(r, Route | WebSocketRoute)]  # type: ignore[attr-defined]
    for_programs = {r.path for r in routes if not r.path.startswith("/models/")}
    for_people = {"/", "/{path:path}", "/v1/docs", "/v1/openapi.json"}
    assert set(document["paths"]) == for_programs - for_people
    docs = client.get("/v1/docs").text
    assert all(path in docs for path in document["paths"])
    assert "https://" not in docs, "nothing is fetched from elsewhere"


def test_statuses_that_the_service_gives_are_in_the_openapi_document(
    client: TestClient,
) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    operations = paths["/v1/enhance"]["post"], paths["/v1/stream"]["get"]
    documented = {status for operation in operations for status in operation["responses"]}
    source = "".join(p.read_text("utf-8") for p in Path(page.__file__).parent.glob("*.py"))
    raised = set(re.findall(r"HTTPException\((\d{3})", source))
    assert raised <= documented


@pytest.mark.parametrize("name", ["default-waveform.onnx", "live.onnx"])
def test_the_bundled_files_of_the_browser_are_served_with_isolation(
    client: TestClient, name: str
) -> None:
    answer = client.get(f"/models/{name}")
    assert answer.content == (MODELS / name).read_bytes()
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    unchanged = {"If-None-Match": answer.headers["etag"]}
    assert client.get(f"/models/{name}", headers=unchanged).status_code == 304
    assert client.delete(f"/models/{name}").status_code == 405


def test_without_a_built_page_the_root_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "page_folder", lambda: None)
    with TestClient(create_app(LIMITS)) as client:
        text = client.get("/").text
    assert "make page" in text
    assert "/v1/enhance" in text


def test_a_built_page_is_served_at_the_root_with_a_strict_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<p>page</p>")
    (tmp_path / "main.mjs").write_text("1")
    (tmp_path / "ort.wasm.xz").write_bytes(lzma.compress(b"\0asm"))  # as it is in a wheel
    monkeypatch.setattr(page, "page_folder", lambda: tmp_path)
    with TestClient(create_app(LIMITS)) as client:
        root, script, wasm = (client.get(path) for path in ("/", "/main.mjs", "/ort.wasm"))
        assert client.get("/../pyproject.toml").status_code == 404
        assert client.get("/v1/version").status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/other"):
            pass
        for method in ("GET", "PUT", "OPTIONS"):
            wrong = client.request(method, "/v1/enhance")
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
            assert "/v1/docs" in wrong.json()["error"]
    assert root.text == "<p>page</p>"
    assert "javascript" in script.headers["content-type"]
    assert (wasm.content, wasm.headers["content-type"]) == (b"\0asm", "application/wasm")
    for answer in (root, script, wasm):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-cache", "files of two versions never meet"


def test_a_live_model_that_is_no_stream_is_refused_at_the_start() -> None:
    from dataclasses import replace

    from fsnp_onnx.errors import ModelFileError

    with pytest.raises(ModelFileError, match="has to be a stream"):
        create_app(replace(LIMITS, live_model=LIMITS.model))


def test_an_unknown_websocket_path_is_refused_and_not_counted_as_a_stream(
    client: TestClient,
) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/other"):
        pass
    counts = client.get("/metrics").text
    assert 'fsnp_requests_total{outcome="403",path="other"}' in counts
    assert 'fsnp_streams_total{outcome="403"}' not in counts


def test_a_request_at_the_path_of_streams_is_told_to_be_a_websocket(client: TestClient) -> None:
    answer = client.get("/v1/stream")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert "WebSocket" in answer.json()["error"]
