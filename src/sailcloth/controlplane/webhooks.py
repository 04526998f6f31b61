"""Keeps the webhook configurations of this revision and of its tags in the API server: whom they concern, and the CA that signs the
webhooks' certificate.

Must not answer webhooks; `injector.webhook` and `admission` do.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from sailcloth.api.revision import DEFAULT, LABEL, TAG
from sailcloth.injector import webhook_config
from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS
from sailcloth.lib.work_queue import WorkQueue

from . import admission
from .revisions import Revisions

_MANAGER = "istiod"


class Webhooks:
    """`write` once, and `run` after each `changed`. bundle: the roots, PEM. revision: empty for the one without a name."""

    def __init__(
        self, client: Client, namespace: str, revision: str, revisions: Revisions, bundle: Callable[[], bytes]
    ) -> None:
        self._client, self._namespace, self._revision = client, namespace, revision
        self._revisions, self._bundle = revisions, bundle
        self._queue = WorkQueue(self._write, name="webhook configurations", retry=RETRIABLE)

    def changed(self) -> None:
        """The revision has other tags, or another one is the default."""
        self._queue.add(self._revisions.own)

    async def run(self) -> None:
        """Write changes until cancelled."""
        await self._queue.run()

    async def write(self) -> None:
        """Write both configurations, and the roots into those of tags. Raises what the client does."""
        bundle, revisions = self._bundle(), self._revisions
        active = revisions.is_default or revisions.own != DEFAULT
        injector = webhook_config.configuration(bundle, self._revision, self._namespace, active)
        validator = admission.configuration(bundle, revisions, self._revision, self._namespace)
        await self._client.apply(MUTATING_WEBHOOKS, injector, field_manager=_MANAGER, force=True)
        await self._client.apply(VALIDATING_WEBHOOKS, validator, field_manager=_MANAGER, force=True)
        await self._renew_tags(bundle)

    async def _write(self, _: str) -> None:
        await self.write()

    async def _renew_tags(self, bundle: bytes) -> None:
        """Give the roots to the webhooks of tags, which users make from ours (`sailctl tag set`)."""
        selector = f"{TAG},{LABEL}={self._revisions.own}"
        encoded = base64.b64encode(bundle).decode()
        for tag in (await self._client.list(MUTATING_WEBHOOKS, label_selector=selector))[0]:
            configs = [webhook["clientConfig"] for webhook in tag.get("webhooks") or ()]
            if all(config.get("caBundle") == encoded for config in configs):
                continue
            for config in configs:
                config["caBundle"] = encoded
            try:
                await self._client.replace(MUTATING_WEBHOOKS, tag)
            except ApiError as error:
                if error.status not in (404, 409):  # it goes, or somebody writes it now
                    raise
