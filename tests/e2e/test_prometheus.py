"""A real Prometheus scrapes the real stack and finds what was done to it, to the last token."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.conftest import PARIS, Stack, free_port, wait_until
from tests.monitoring.prometheus.queries import panels, rules
from tests.prometheus import CONFIG, program

MODEL = 'model_name="smollm2-135m-instruct"'


class Prometheus:
    """A running server with our configuration, but for the target, the key and the pace."""

    def __init__(self, folder: Path, target: str, key: str) -> None:
        (folder / "key").write_text(key)
        config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIG / name) for name in config["rule_files"]]
        (scrape,) = config["scrape_configs"]
        scrape["authorization"]["credentials_file"] = str(folder / "key")
        scrape["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}/api/v1"
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={address}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/{path}", params=parameters, timeout=10)
        if answer.status_code == 503:  # it is starting
            answer.raise_for_status()
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def value(self, query: str) -> float | None:
        """Of a query with one sample at most; None without one or without a server."""
        try:
            found = self.ask("query", query=query)["result"]
        except httpx.HTTPError:
            return None
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def total(self, query: str) -> float:
        return self.value(f"sum({query})") or 0.0


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    key = stack.manage(
        "key", "create", "--user", "admin", "--name", "prometheus", "--scope", "metrics"
    )
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(folder, stack.url.removeprefix("http://"), key.strip())
    try:
        wait_until(lambda: server.value('up{job="llamagpu"}') == 1, "the stack is scraped")
        wait_until(lambda: server.value("llamagpu_workers"), "the worker tells its figures")
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_known_load_is_found(stack: Stack, prometheus: Prometheus) -> None:
    counters = {
        "answers": f"llamagpu_request_success_total{{{MODEL}}}",
        "lengths": f'llamagpu_request_success_total{{{MODEL},finished_reason="length"}}',
        "prompt": f"llamagpu_prompt_tokens_total{{{MODEL}}}",
        "generated": f"llamagpu_generation_tokens_total{{{MODEL}}}",
        "firsts": f"llamagpu_time_to_first_token_seconds_count{{{MODEL}}}",
        "gaps": f"llamagpu_inter_token_latency_seconds_count{{{MODEL}}}",
        "latencies": f"llamagpu_e2e_request_latency_seconds_count{{{MODEL}}}",
        "posts": 'llamagpu_http_requests_total{endpoint="api/infer",method="POST",status="2xx"}',
        "refusals": 'llamagpu_http_errors_total{door="api",code="INVALID_INPUT"}',
        "begun": 'llamagpu_broker_messages_consumed_total{task="inference.generate"}',
        "cut off": f'llamagpu_request_failure_total{{{MODEL},code="DEADLINE_EXCEEDED"}}',
    }
    before = {name: prometheus.total(query) for name, query in counters.items()}
    usage = []
    for max_tokens in (3, 5, 8):
        answer = stack.infer({**PARIS, "max_tokens": max_tokens, "ignore_eos": True})
        assert answer.status_code == 200, answer.text
        usage.append(answer.json()["metadata"]["usage"])
    assert stack.infer({"text": "Hello", "temperature": 9}).status_code == 400
    late = stack.infer({**PARIS, "max_tokens": 4000, "ignore_eos": True, "timeout": 1})
    assert late.status_code == 504
    generated = sum(one["completion_tokens"] for one in usage)
    assert generated == 16
    expected = {
        "answers": 3,
        "lengths": 3,
        "firsts": 4,
        "latencies": 3,
        "posts": 3,
        "refusals": 1,
        "begun": 4,
        "cut off": 1,
    }

    def grown() -> dict[str, float]:
        return {name: prometheus.total(query) - before[name] for name, query in counters.items()}

    wait_until(lambda: expected.items() <= grown().items(), f"{expected}, last {grown()}")
    # The late one has a prompt and tokens too, which its row tells.
    row = stack.job(request_id=late.headers["X-Request-ID"])
    assert row is not None
    found = grown()
    assert found["prompt"] == sum(u["prompt_tokens"] for u in usage) + row["prompt_tokens"]
    assert found["generated"] == generated + row["completion_tokens"]
    assert found["gaps"] == found["generated"] - 4  # each but the first of four answers


def test_a_latency_lies_in_the_bucket_of_its_job(stack: Stack, prometheus: Prometheus) -> None:
    """One figure by two ways: what Prometheus counts, and what the job's row says."""

    def cumulative() -> dict[float, float]:
        query = f"llamagpu_e2e_request_latency_seconds_bucket{{{MODEL}}}"
        found = prometheus.ask("query", query=query)["result"]
        return {float(item["metric"]["le"]): float(item["value"][1]) for item in found}

    total = f"llamagpu_e2e_request_latency_seconds_sum{{{MODEL}}}"

    seen: list[float] = []

    def stands_still() -> bool:
        """What other tests have asked for is counted, as far as it ever will be."""
        seen.append(prometheus.total(f"llamagpu_request_success_total{{{MODEL}}}"))
        return len(seen) >= 100 and len(set(seen[-100:])) == 1

    wait_until(stands_still, "what came before is counted")
    before, sum_before = cumulative(), prometheus.total(total)
    answer = stack.infer({**PARIS, "max_tokens": 4})
    wait_until(lambda: cumulative()[math.inf] == before[math.inf] + 1, "the answer is counted")
    row = stack.job(request_id=answer.json()["metadata"]["request_id"])
    assert row is not None
    began, ended = (datetime.fromisoformat(row[name]) for name in ("created_at", "finished_at"))
    latency = (ended - began).total_seconds() + row["admission_time"]
    assert prometheus.total(total) - sum_before == pytest.approx(latency, abs=1e-4)
    after = cumulative()
    assert len(after) > 30
    grown = min(bound for bound in after if after[bound] > before[bound])
    assert grown == min(bound for bound in after if bound >= latency)


def test_the_machine_and_all_processes_are_there(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.value("llamagpu_node_cpu_cores"), "the monitor tells its figures")
    for role in ("web", "worker", "monitor"):
        assert prometheus.value(f'llamagpu_processes{{role="{role}"}}') == 1
    assert prometheus.value("llamagpu_redis_up") == 1
    assert prometheus.value("llamagpu_database_up") == 1
    assert prometheus.value(f'llamagpu_engines{{{MODEL},state="ready"}}') == 1
    assert prometheus.total("llamagpu_node_memory_total_bytes") > 0


def test_rules_and_dashboards_work_on_real_figures(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]]:
        groups = prometheus.ask("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] != "unknown" for rule in found) else []

    loaded = wait_until(evaluated, "every rule was evaluated")
    assert len(loaded) == len(list(rules()))
    assert [
        (rule["name"], rule.get("lastError")) for rule in loaded if rule["health"] != "ok"
    ] == []
    firing = [rule["name"] for rule in loaded if rule.get("state") == "firing"]
    assert firing == []
    for where, query in panels():
        filled = query.replace("$__rate_interval", "1m")
        for variable in ("$model", "$plugin", "$node"):
            filled = filled.replace(variable, ".*")
        assert "$" not in filled, where
        prometheus.ask("query", query=filled)
