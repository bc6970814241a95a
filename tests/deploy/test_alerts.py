"""Alerts from posts to a real receiver, by the real commands: delivered, given up, told, tried again, tested."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from deploy import orders
from deploy.deliveries import OfCluster
from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from deploy.settings import Settings
from tests.deploy.clusters import Commands
from tests.deploy.conftest import answer, weibowatch
from tests.notify import mail
from tests.notify.fakes import Hook
from tests.notify.mail import Mailbox
from tests.notify.services import TOKEN, DingTalkFake

ALLOW = "[web]\npublic_url = 'https://watch.example'\n[notify]\nallow = ['127.0.0.0/8']\n"


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "weibowatch.toml"
    path.write_text(ALLOW + text, encoding="utf-8")
    return path


def dingtalk(url: str, token: str = TOKEN) -> str:
    address = f"{url}/robot/send?access_token={token}"
    return f"[notify.channels.ops]\nkind = 'dingtalk'\nurl = '{address}'\nsecret = 'SECtest'\n"


async def test_a_test_alert_says_so_and_the_answer_is_printed(tmp_path: Path) -> None:

    robot = DingTalkFake(lambda: time.time_ns() // 1_000_000, "SECtest")
    async with robot.serving() as url:
        config = ("--config", str(settings(tmp_path, dingtalk(url))))
        done = await asyncio.to_thread(weibowatch, "alerts", "test", "ops", *config)
        assert done.stdout.decode() == "ops: errcode 0: ok\n"
        wrong = ("--config", str(settings(tmp_path, dingtalk(url, "not-the-token-0123456789"))))
        done = await asyncio.to_thread(weibowatch, "alerts", "test", "ops", *wrong, check=False)
        assert done.returncode == 1
        assert done.stderr.decode() == "weibowatch: ops did not take it: errcode 300001: token is not exist\n"
        done = await asyncio.to_thread(weibowatch, "alerts", "test", "ops", *wrong, "--json", check=False)
        assert (done.returncode, json.loads(done.stdout)["delivered"]) == (1, False)
        done = await asyncio.to_thread(weibowatch, "alerts", "test", "opps", *wrong, check=False)
        assert done.returncode == 2 and b"Channels: ops" in done.stderr
    [shown] = robot.shown
    assert "【测试 TEST · 触发 firing】weibowatch" in shown.text and "没有发生任何事" in shown.text


def test_without_leave_nothing_on_this_machine_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "weibowatch.toml"
    path.write_text(dingtalk("http://127.0.0.1:1"))
    done = weibowatch("alerts", "test", "ops", "--config", str(path), check=False)
    assert done.returncode == 1 and b"its address is forbidden: 127.0.0.1 is this machine" in done.stderr
    assert TOKEN.encode() not in done.stderr + done.stdout


def test_settings_are_shown_without_keys(tmp_path: Path) -> None:
    config = str(settings(tmp_path, dingtalk("https://oapi.example")))
    for words in ((), ("--json",)):
        out = weibowatch("config", "show", "--config", config, *words).stdout.decode()
        assert "dingtalk" in out and "***" in out and TOKEN not in out and "SECtest" not in out


def test_options_belong_behind_the_command() -> None:
    done = weibowatch("alerts", "--json", "failed", check=False)
    assert done.returncode == 2 and b"after `alerts failed`" in done.stderr


def hook_in(url: str) -> str:
    return f"[notify.channels.hook]\nkind = 'webhook'\nurl = '{url}/in/{TOKEN}'\nsecret = 'SECtest'\n"


def delivered(hook: Hook) -> list[str]:
    return [headers["X-Alert-Id"] for _, headers, _ in hook.asked]


async def test_alerts_of_a_run_are_delivered_given_up_and_tried_again(tmp_path: Path) -> None:
    hook = Hook()
    store = ("--store", str(tmp_path / "store"))
    async with hook.serving() as url:
        config = ("--config", str(settings(tmp_path, hook_in(url) + "[notify.channels.kept]\nkind='file'\n"
                                           f"path='{tmp_path}/kept.jsonl'\n")))  # fmt: skip
        hook.faults = ["404"] * 3
        summary = await asyncio.to_thread(answer, "run", "--source", "demo", "--once", "--json", *store, *config)
        kept = [json.loads(line)["id"] for line in (tmp_path / "kept.jsonl").read_bytes().splitlines()]
        alerts = (await asyncio.to_thread(answer, "alerts", "--limit", "500", "--json", *store))["alerts"]
        assert len(alerts) == summary["alerts"] > 20
        assert sorted(kept) == sorted(one["id"] for one in alerts if not one["held"])
        assert sorted(delivered(hook)) == sorted(kept), "each was tried once: a 404 is lasting"
        failed = await asyncio.to_thread(answer, "alerts", "failed", "--json", *store)
        assert failed["total"] == 3 and {row["flip_id"] for row in failed["failed"]} == set(delivered(hook)[:3])
        assert {row["channel"] for row in failed["failed"]} == {"hook"} and TOKEN not in json.dumps(failed)
        table = await asyncio.to_thread(weibowatch, "alerts", "failed", *store)
        assert b"HTTP 404" in table.stdout and b"3 in all" in table.stdout
        hook.asked.clear()
        assert (await asyncio.to_thread(answer, "alerts", "retry", "--channel", "x", "--json", *store)) == {
            "retried": 0
        }
        assert (await asyncio.to_thread(answer, "alerts", "retry", "--json", *store)) == {"retried": 3}
        await asyncio.to_thread(answer, "run", "--source", "demo", "--once", "--json", *store, *config)
        assert sorted(delivered(hook)) == sorted(row["flip_id"] for row in failed["failed"])
        found = await asyncio.to_thread(answer, "alerts", "deliveries", "--status", "told", "--json", *store)
        assert found["total"] == 2 * len(kept) and all(row["first_told_ms"] for row in found["deliveries"])
        assert (await asyncio.to_thread(answer, "alerts", "failed", "--json", *store))["total"] == 0
    assert len((tmp_path / "kept.jsonl").read_bytes().splitlines()) == len(kept), "nothing went out twice"
    assert set(json.loads(hook.asked[0][2])["commonLabels"]) >= {"alertname", "entity", "severity"}


async def test_mails_of_a_run_show_the_course(tmp_path: Path) -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        config = settings(tmp_path, mail_to(port))
        words = ("run", "--source", "demo", "--once", "--json", "--store", str(tmp_path / "store"))
        await asyncio.to_thread(answer, *words, "--config", str(config))
    assert box.mails
    check_charts(box.mails)


def mail_to(port: int) -> str:
    channel = f"[notify.channels.mail]\nkind = 'email'\nhost = '127.0.0.1'\nport = {port}\nsecurity = 'none'\n"
    return channel + "sender = 'w@example.org'\nto = ['a@example.org']\nper_minute = 0\n"


def check_charts(mails: Sequence[EmailMessage]) -> None:
    for found in mails:
        pictures = [part for part in found.walk() if part.get_content_type() == "image/png"]
        page = found.get_body(("html",))
        assert page is not None and f"cid:{str(pictures[0]['Content-ID']).strip('<>')}" in page.get_content()
        assert all(10_000 < len(part.get_payload(decode=True)) < 200_000 for part in pictures)


async def test_a_cluster_delivers_gives_up_and_tries_again(
    kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path
) -> None:
    hook, box = Hook(), Mailbox()
    async with hook.serving() as url, mail.serving(box) as port:
        config = settings(tmp_path, hook_in(url) + mail_to(port))
        cluster = Commands(kafka, elastic, prefix, tmp_path, WEIBOWATCH_CONFIG=str(config))
        try:
            await asyncio.to_thread(cluster.create_topics)
            hook.faults = ["404"] * 3
            await asyncio.to_thread(cluster.answer, "ingest", "--source", "demo")
            await asyncio.to_thread(cluster.answer, "worker", "--once")
            first = delivered(hook)
            assert len(first) == len(set(first)) > 20
            drawn = [one for one in box.mails if one.is_multipart()]
            assert len(drawn) > len(box.mails) / 2, "what no search finds yet is told without a chart"
            check_charts(drawn)
            failed = await asyncio.to_thread(cluster.answer, "alerts", "failed", "--cluster")
            assert failed["total"] == 3 and {row["flip_id"] for row in failed["failed"]} == set(first[:3])
            settled = OfCluster(functools.partial(orders.deliveries, Settings(kafka=cluster.kafka), ""))
            told = await asyncio.to_thread(settled.of, first)
            told = {name: [row for row in rows if row["channel"] == "hook"] for name, rows in told.items()}
            assert [told[name][0]["status"] for name in first] == ["failed"] * 3 + ["told"] * (len(first) - 3)
            assert all(told[name][0]["first_told_at"] for name in first[3:])
            hook.asked.clear()
            assert await asyncio.to_thread(cluster.answer, "alerts", "retry", "--cluster") == {"retried": 3}
            await asyncio.to_thread(cluster.answer, "worker", "--once")
            assert sorted(delivered(hook)) == sorted(first[:3])
            assert (await asyncio.to_thread(cluster.answer, "alerts", "failed", "--cluster"))["total"] == 0
        finally:
            await asyncio.to_thread(cluster.close)
