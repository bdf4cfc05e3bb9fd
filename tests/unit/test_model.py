"""Each setting that cannot work is refused at construction, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from homeport.catalog import MODELS
from homeport.errors import SettingsError
from homeport.model import Endpoint, Route, Token, check_served_together
from homeport.weights import FileWeights

GLM = MODELS["glm-5.2-fp8"]
SMALL = MODELS["smollm2-135m"]


@pytest.mark.parametrize("alias", ["", "a/b", "zai-org/GLM", "a b", " x", "é", "-x", "a\n", "a'b"])
def test_alias_that_a_server_or_the_client_would_refuse(alias: str) -> None:
    with pytest.raises(SettingsError, match=r"alias is .*letters, digits"):
        replace(GLM, alias=alias)


def test_alias_that_forces_a_context() -> None:
    with pytest.raises(SettingsError, match=r"1,000,000 tokens.*Write 'claude-glm'"):
        replace(GLM, alias="claude-glm[1m]")


@pytest.mark.parametrize("alias", ["claude-anthropic", "anthropic", "claude-"])
def test_alias_whose_script_would_be_the_way_back(alias: str) -> None:
    with pytest.raises(SettingsError, match=r"use-anthropic\.sh"):
        replace(GLM, alias=alias)


@pytest.mark.parametrize("context", [0, 16_384, 65_535])
def test_context_smaller_than_one_real_request(context: int) -> None:
    with pytest.raises(SettingsError, match=rf"context is {context}: .*Write 65536 or more"):
        replace(GLM, context=context)


def test_small_context_where_the_model_says_so() -> None:
    assert SMALL.context == 8_192
    assert SMALL.simple
    assert not GLM.simple


def test_context_beyond_the_training() -> None:
    with pytest.raises(SettingsError, match="trained for 8,192"):
        replace(SMALL, context=16_384)


@pytest.mark.parametrize(
    ("model", "output", "largest"),
    [
        (GLM, 0, 20_000),
        (GLM, 32_000, 20_000),
        (replace(GLM, context=65_536), -1, 20_000),
        (MODELS["gemma-4-12b-coder"], 40_000, 20_000),
        (SMALL, 8_192, 6_822),
    ],
)
def test_output_that_does_not_fit(model: object, output: int, largest: int) -> None:
    with pytest.raises(SettingsError, match=rf"max_output is {output}: .*Write 1 to {largest}"):
        replace(model, max_output=output)  # type: ignore[type-var]


@pytest.mark.parametrize("path", ["model.gguf", "/a/model.bin", "", "~x/model.gguf"])
def test_weights_that_are_no_gguf_file(path: str) -> None:
    with pytest.raises(SettingsError, match=r"weights is .*\.gguf"):
        FileWeights(path)


@pytest.mark.parametrize("port", [0, -1, 65_536, 80_000])
def test_port_out_of_range(port: int) -> None:
    with pytest.raises(SettingsError, match=rf"port is {port}: ports are 1 to 65535"):
        Endpoint("localhost", port)


def test_port_that_is_no_number() -> None:
    with pytest.raises(SettingsError, match="without quotes"):
        Endpoint("localhost", "8000")  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["", "http://glm", "glm:8000", "glm/v1", "a b", "-x", "a..b"])
def test_host_that_is_none(host: str) -> None:
    with pytest.raises(SettingsError, match="host is"):
        Endpoint(host, 8000, Token("t"))


def test_two_models_on_one_port() -> None:
    one = Route(GLM, Endpoint("localhost", 8000))
    other = Route(SMALL, Endpoint("localhost", 8000))
    with pytest.raises(SettingsError, match=r"claude-fable5\.port is 8000: claude-glm is served"):
        check_served_together((one, other))
    check_served_together((one, Route(SMALL, Endpoint("localhost", 8001))))


@pytest.mark.parametrize("token", ["sk-ant-api03-x", "sk-ant-oat01-x"])
def test_an_anthropic_key_never_becomes_a_token(token: str) -> None:
    with pytest.raises(SettingsError, match="Anthropic key") as caught:
        Token(token)
    assert token not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", 'a"b', "a$b", "a\\b", "ü"])
def test_token_that_does_not_pass_through_unharmed(token: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Token(token)
    assert not token or token not in str(caught.value)


def test_a_token_is_never_printed() -> None:
    endpoint = Endpoint("glm-host", 8000, Token("geheim"))
    assert "geheim" not in repr(endpoint) + str(endpoint) + f"{endpoint.token}"


def test_network_endpoint_without_a_token() -> None:
    with pytest.raises(SettingsError, match="anybody on the network"):
        Endpoint("glm-host", 8000)
    assert Endpoint("glm-host", 8000, open_to_network=True).token is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (Endpoint("localhost", 18080), "http://127.0.0.1:18080"),
        (Endpoint("::1", 1), "http://[::1]:1"),
        (Endpoint("glm-host", 443, Token("t"), tls=True), "https://glm-host:443"),
    ],
)
def test_base_url(endpoint: Endpoint, url: str) -> None:
    assert endpoint.url == url


def test_route_names() -> None:
    route = Route(GLM, Endpoint("localhost", 1))
    assert route.script == "use-glm.sh"
    assert replace(route, model=replace(GLM, alias="qwen")).script == "use-qwen.sh"
