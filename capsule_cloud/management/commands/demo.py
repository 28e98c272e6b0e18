"""`manage.py demo`: a new customer's way through the product, step by step, over HTTP alone."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.conf import settings
from django.core.management import CommandError
from django.core.management.base import BaseCommand, CommandParser

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import Child, Program, StartFailed
from capsule_cloud.management.commands.dev import answers, chosen_port
from capsule_cloud.management.journey import Journey, JourneyFailed

LOG = "demo.log"  # in the data folder: what the service said that we started
LAST_WORDS = 20  # lines of it that are shown when it cannot start


class Command(BaseCommand):
    """Prints each step with its time. Ends with 1 at the first promise that is not kept."""

    help = "Sign up, remember, recall: drive the running service (started when there is none) as a new customer."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--url`, else the service of `make run`, else one that is started for the purpose."""
        parser.add_argument("--url", help=f"the service to drive (default: {settings.PUBLIC_URL}, started when needed)")

    def handle(self, *args: Any, url: str | None = None, **options: Any) -> None:
        """Raises CommandError when a step fails or the service cannot be started."""
        begun = time.perf_counter()
        try:
            with self._service(url) as base_url:
                steps = 0
                for step in Journey(base_url).run():
                    steps += 1
                    took = self.style.WARNING(f"{1000 * step.seconds:7.0f} ms")
                    self.stdout.write(f"{self.style.SUCCESS('  ok')} {took}  {step.title}: {step.seen}")
                    self.stdout.flush()
        except (JourneyFailed, StartFailed) as failure:
            raise CommandError(str(failure)) from failure
        self.stdout.write(self.style.SUCCESS(f"All {steps} steps work ({time.perf_counter() - begun:.1f} s)."))

    @contextmanager
    def _service(self, url: str | None) -> Iterator[str]:
        """The address of a running service; one that is started here ends with the block. Raises StartFailed."""
        if url or is_ours(settings.PUBLIC_URL):
            yield (url or settings.PUBLIC_URL).rstrip("/")
            return
        port = chosen_port(None)
        path = embedded.data_dir() / LOG
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.stdout.write(f"Nothing answers at {settings.PUBLIC_URL}: starting the service (its log: {path})")
        self.stdout.flush()
        begun = time.perf_counter()
        with path.open("wb") as log:
            child = Child(_dev(port), log)
            try:
                child.wait_until_ready()
                self.stdout.write(f"Ready on port {port} after {time.perf_counter() - begun:.1f} s")
                yield f"http://localhost:{port}"
            except StartFailed as failure:
                last = path.read_text(errors="replace").splitlines()[-LAST_WORDS:]
                raise StartFailed("\n".join([str(failure), *last])) from failure
            finally:
                child.stop()


def is_ours(url: str) -> bool:
    """Whether this service, not some other program, answers at the address."""
    try:
        answer = httpx.get(f"{url}/health", timeout=5)
    except httpx.HTTPError:
        return False
    return answer.is_success and "X-Request-Id" in answer.headers


def _dev(port: int) -> Program:
    return Program(
        name="The service",
        argv=(sys.executable, "manage.py", "dev", "--port", str(port)),
        env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        cwd=settings.BASE_DIR,
        is_ready=answers(port),
        grace=60.0,
        patience=300.0,
    )
