"""The mesh's CA in this process: which one signs, from which Secret, and the change from one to the next (`ca.trust`).

A CA that an administrator plugs in (Secret `cacerts`) comes before our self-signed one (Secret `istio-ca-secret`, made at the
first start). Both are followed while the process runs. A CA that cannot be used replaces none. Must not log keys.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from cryptography import x509

from sailcloth.ca import expiry, plugged_in, revocation
from sailcloth.ca.authority import Authority, fingerprint, pem
from sailcloth.ca.plugged_in import InvalidCa
from sailcloth.ca.trust import Trust, record, resume
from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.informer import Informer
from sailcloth.kube.resources import CONFIGMAPS, SECRETS
from sailcloth.lib.x509_errors import as_value_errors

log = logging.getLogger(__name__)

PLUGGED_IN, SELF_SIGNED = "cacerts", "istio-ca-secret"
BUNDLE, BUNDLE_KEY = "istio-ca-root-cert", "root-cert.pem"
REVOKED, REVOKED_KEY = "istio-ca-crl", "ca-crl.pem"
ENDS = "sailcloth.io/roots"  # annotation of the bundle in our own namespace: `ca.trust.record`
ROTATE = "sailcloth.io/rotate"  # annotation of the self-signed CA's Secret: a new root is wanted
_CERTIFICATE, _KEY, _NEXT_CERTIFICATE, _NEXT_KEY = "ca-cert.pem", "ca-key.pem", "next-ca-cert.pem", "next-ca-key.pem"
_GRACE = 0.2  # share of the root's lifetime that is left when the next one is made, as in Istio
_PATIENCE_S = (
    600.0  # for proxies that do not say that they trust the next root: those of other agents, and unreachable ones
)
_POLL_S = 0.1
_LONGEST_S = 3600.0

Secret = dict[str, Any]


class Certificates:
    """Implements `ca.service.Issuer`. `untrusting(fingerprint)` names the proxies that do not trust a root yet.

    on_bundle: awaited after the bundle of roots or the revocation lists changed, and at first; on_issuer: called when another CA
    signs.
    """

    def __init__(
        self, client: Client, namespace: str, lifetime: dt.timedelta, untrusting: Callable[[str], list[str]]
    ) -> None:
        self._client, self._namespace, self._lifetime, self._untrusting = client, namespace, lifetime, untrusting
        self._secrets: dict[str, Secret] = {}
        self._source: dict[Authority, str] = {}  # the Secret that each comes from
        self._changed = asyncio.Event()
        self._issued_until = dt.datetime.fromtimestamp(0, dt.UTC)
        self._recorded: tuple[bytes, dict[str, float]] = b"", {}
        self._announced: tuple[bytes, bytes] | None = None
        self._proposed_at = 0.0
        self._waiting_for: list[str] = []
        self.trust = Trust(None)
        self._others: tuple[x509.Certificate, ...] = ()
        self._lists, self._completion = b"", revocation.Completion()
        self._told: list[str] = []
        self.problem = ""  # why the plugged-in CA is not used
        self.on_bundle: Callable[[], Awaitable[None]] | None = None
        self.on_issuer: Callable[[], None] | None = None

    # -- ca.service.Issuer ----------------------------------------------------------------------

    @property
    def authority(self) -> Authority | None:
        return self.trust.issuer

    @property
    def bundle(self) -> bytes:
        return pem([*self.trust.roots, *self._others])

    def trust_also(self, certificates: Sequence[str]) -> None:
        """Roots of other meshes (PEM) that proxies are to trust, too."""
        others = tuple(c for text in certificates for c in x509.load_pem_x509_certificates(text.encode()))
        if others != self._others:
            self._others = others
            self._changed.set()

    def issued(self, until: dt.datetime) -> None:
        self._issued_until = max(self._issued_until, until)
        if self.trust.issuer and self._recorded[1].get(fingerprint(self.trust.issuer.root), 0.0) < until.timestamp():
            self._changed.set()

    @property
    def revoked(self) -> bytes:
        """The revocation lists that proxies are to heed, as PEM; empty if there are none."""
        return self._completion.of(self._lists, dt.datetime.now(dt.UTC), self.trust.issuer, self.trust.candidate)

    @property
    def server_authority(self) -> Authority:
        """The CA for the control plane's own certificates, which is there even while none signs for workloads."""
        authority = self.trust.issuer or self.trust.candidate
        assert authority is not None, "the CA is started"
        return authority

    # -- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the CA, or make one. Raises InvalidCa if the Secret `cacerts` cannot be used and there is no other CA."""
        names = (PLUGGED_IN, SELF_SIGNED)
        *secrets, held, lists = await asyncio.gather(
            *(self._get(SECRETS, name) for name in names), *(self._get(CONFIGMAPS, name) for name in (BUNDLE, REVOKED))
        )
        self._secrets = {name: found for name, found in zip(names, secrets, strict=True) if found is not None}
        if not self._secrets:
            await self._create_root()
        authority = self._wanted(present=True)
        if authority is None:
            raise InvalidCa(f"the CA's Secret in {self._namespace} cannot be used: {self.problem}")
        self.trust = self._resumed(held, authority)
        with contextlib.suppress(ValueError):
            self._completion.resume(str(((lists or {}).get("data") or {}).get(REVOKED_KEY, "")).encode())
        self._proposed_at = asyncio.get_running_loop().time()

    def _resumed(self, held: Secret | None, authority: Authority) -> Trust:
        if held is None:
            return Trust(authority)
        text = str((held.get("data") or {}).get(BUNDLE_KEY, "")).encode()
        try:
            ends = orjson.loads((held["metadata"].get("annotations") or {}).get(ENDS) or b"{}")
            with as_value_errors():
                roots = x509.load_pem_x509_certificates(text)
            trust = resume(roots, {str(k): float(v) for k, v in ends.items()}, authority)
        except (ValueError, TypeError, AttributeError) as error:
            log.warning("ConfigMap %s/%s cannot be read (%s): no earlier root is kept", self._namespace, BUNDLE, error)
            return Trust(authority)
        self._recorded = text, ends
        if trust.issuer is not None:
            self._issued_until = dt.datetime.fromtimestamp(ends.get(fingerprint(authority.root), 0.0), dt.UTC)
        return trust

    async def _get(self, resource: Any, name: str) -> Secret | None:
        try:
            return await self._client.get(resource, name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def _create_root(self) -> None:
        authority = Authority.create()
        data = {_CERTIFICATE: authority.certificate_pem, _KEY: authority.key_pem}
        made = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "istio.io/ca-root",
            "metadata": {"name": SELF_SIGNED, "namespace": self._namespace},
            "data": {k: base64.b64encode(v).decode() for k, v in data.items()},
        }
        try:
            self._secrets[SELF_SIGNED] = await self._client.create(SECRETS, made)
        except ApiError as error:
            if error.status != 409:
                raise
            self._secrets[SELF_SIGNED] = await self._client.get(SECRETS, SELF_SIGNED, self._namespace)

    # -- changes --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the Secrets, and take each step of a change when it is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name in (PLUGGED_IN, SELF_SIGNED):
                informer = Informer(
                    self._client, SECRETS, orjson.loads, self._namespace, f"metadata.name={name}"
                )  # each needs a request of its own: selectors know no "or"
                tasks.create_task(informer.run(self._on_secret))
            tasks.create_task(self._reconcile_for_ever())

    def _on_secret(self, kind: str, secret: Secret, ident: tuple[str, str]) -> None:
        name = ident[1]
        held = self._secrets.get(name)
        if held is not None and _is_older(secret, held):
            return  # than what this process has written meanwhile
        if kind == "DELETED":
            self._secrets.pop(name, None)
        elif held == secret:
            return
        else:
            self._secrets[name] = secret
        self._changed.set()

    async def _reconcile_for_ever(self) -> None:
        while True:
            self._changed.clear()
            try:
                pause = await self.reconcile()
            except RETRIABLE as error:
                log.warning("the CA's state is not written: %s; trying again", error)
                pause = 1.0
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which may swallow a cancellation (Python 3.11)
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def reconcile(self) -> float:
        """Take the steps that are due. Returns after how many seconds the next may be. Raises RETRIABLE errors."""
        now = dt.datetime.now(dt.UTC)
        self._warn(now)
        await self._make_next_root(now)
        before = self.trust.candidate
        wanted = self._wanted()
        if wanted is not None:
            trust = self.trust.propose(wanted)
            if trust.candidate is not None and trust.candidate != before:
                self._proposed_at = asyncio.get_running_loop().time()
                log.info("the CA changes: root %s is trusted, too, from now on", _short(trust.candidate))
            self._set(trust)
        self._set(self.trust.expire(now))
        await self._publish()
        if self.trust.candidate is not None and self._all_trust(self.trust.candidate):
            await self._store_promotion(self.trust.candidate)
            self._set(self.trust.promote(self._issued_until))
            await self._publish()
        return self._pause(now)

    def _set(self, trust: Trust) -> None:
        old, self.trust = self.trust, trust
        for gone in set(old.retired) - set(trust.retired):
            names = ", ".join(fingerprint(c)[:16] for c in gone.roots)
            log.info("root %s is not trusted any more: the last certificate under it has ended", names)
        if trust.issuer != old.issuer and trust.issuer is not None:
            if old.issuer is not None:
                self._completion.retire(old.issuer, self._issued_until)
            log.info("certificates are signed under root %s from now on", _short(trust.issuer))
            if self.on_issuer is not None:
                self.on_issuer()

    def _wanted(self, present: bool = False) -> Authority | None:
        """The CA that is to sign, by the Secrets; None if none can be used. `present`: not a self-signed root that is the next."""
        name = PLUGGED_IN if PLUGGED_IN in self._secrets else SELF_SIGNED
        files, problem = _files(self._secrets.get(name, {})), ""
        authority: Authority | None = None
        try:
            if name == PLUGGED_IN:
                authority = plugged_in.load(files, dt.datetime.now(dt.UTC))
                self._lists = plugged_in.revoked(files)
            elif files:
                following = _NEXT_CERTIFICATE in files and not present
                pair = (_NEXT_CERTIFICATE, _NEXT_KEY) if following else (_CERTIFICATE, _KEY)
                authority, self._lists = Authority.load(files[pair[0]], files[pair[1]]), b""
        except KeyError as error:
            problem = f"{error} is missing"
        except ValueError as error:
            authority, problem = None, str(error)
        if problem and problem != self.problem:
            log.error("Secret %s/%s is not used: %s", self._namespace, name, problem)
        self.problem = problem
        if authority is not None:
            self._source[authority] = name
        return authority

    # -- the self-signed root -------------------------------------------------------------------

    async def _make_next_root(self, now: dt.datetime) -> None:
        """If a new root is asked for, or the present one comes to its end."""
        secret = self._secrets.get(SELF_SIGNED)
        if secret is None or PLUGGED_IN in self._secrets or not (files := _files(secret)):
            return
        asked = ROTATE in (secret["metadata"].get("annotations") or {})
        if _NEXT_CERTIFICATE not in files:
            root = x509.load_pem_x509_certificate(files[_CERTIFICATE])
            grace = (root.not_valid_after_utc - root.not_valid_before_utc) * _GRACE
            asked = asked or root.not_valid_after_utc - now < grace
        if not asked:
            return
        annotations = {k: v for k, v in (secret["metadata"].get("annotations") or {}).items() if k != ROTATE}
        if _NEXT_CERTIFICATE not in files:
            following = Authority.create()
            files |= {_NEXT_CERTIFICATE: following.certificate_pem, _NEXT_KEY: following.key_pem}
        await self._replace(secret, files, annotations)

    async def _store_promotion(self, candidate: Authority) -> None:
        """Make the next root the present one in its Secret, if the candidate is that."""
        secret = self._secrets.get(SELF_SIGNED)
        files = _files(secret or {})
        if secret is None or files.get(_NEXT_CERTIFICATE) != candidate.certificate_pem:
            return
        kept = {k: v for k, v in files.items() if k not in (_NEXT_CERTIFICATE, _NEXT_KEY)}
        kept |= {_CERTIFICATE: files[_NEXT_CERTIFICATE], _KEY: files[_NEXT_KEY]}
        await self._replace(secret, kept, secret["metadata"].get("annotations") or {})

    async def _replace(self, secret: Secret, files: dict[str, bytes], annotations: dict[str, str]) -> None:
        """Write the self-signed CA's Secret. Raises ApiError if somebody else has written it meanwhile."""
        data = {k: base64.b64encode(v).decode() for k, v in files.items()}
        changed = {**secret, "apiVersion": "v1", "kind": "Secret", "data": data}
        changed["metadata"] = {**secret["metadata"], "annotations": annotations}
        self._secrets[SELF_SIGNED] = await self._client.replace(SECRETS, changed)

    # -- roots ----------------------------------------------------------------------------------

    async def _publish(self) -> None:
        """Write the bundle in our own namespace, with what a later process must know of it, and announce it."""
        bundle, ends = self.bundle, self._ends(self.trust)
        if (bundle, ends) != self._recorded:
            await self._client.apply(CONFIGMAPS, self._manifest(bundle, ends), field_manager="istiod", force=True)
            self._recorded = bundle, ends
        revoked = self.revoked
        if self._announced != (bundle, revoked):
            if self.on_bundle is not None:
                await self.on_bundle()
            self._announced = bundle, revoked

    async def restore(self) -> None:
        """Write the bundle of our own namespace again, after somebody else changed it."""
        if self._recorded[0]:
            await self._client.apply(CONFIGMAPS, self._manifest(*self._recorded), field_manager="istiod", force=True)

    def _manifest(self, bundle: bytes, ends: dict[str, float]) -> dict[str, Any]:
        manifest = config_map(BUNDLE, self._namespace, {BUNDLE_KEY: bundle.decode()})
        manifest["metadata"]["annotations"] = {ENDS: orjson.dumps(ends).decode()}
        return manifest

    def _ends(self, trust: Trust) -> dict[str, float]:
        """The record, with a margin for certificates that are signed until it is written again."""
        ends = record(trust, self._issued_until)
        for root in trust.issuer.roots if trust.issuer is not None else ():
            name = fingerprint(root)
            known = self._recorded[1].get(name, 0.0)
            ends[name] = known if known >= ends[name] else ends[name] + self._lifetime.total_seconds() / 4
        return ends

    def _all_trust(self, candidate: Authority) -> bool:
        """Whether every proxy trusts the candidate's root, or has had long enough."""
        self._waiting_for = self._untrusting(fingerprint(candidate.root))
        if not self._waiting_for:
            return True
        if asyncio.get_running_loop().time() - self._proposed_at < _PATIENCE_S:
            return False
        text = "the CA changes although %d proxies did not say within %.0f s that they trust its root: %s"
        log.warning(text, len(self._waiting_for), _PATIENCE_S, ", ".join(self._waiting_for[:10]))
        return True

    def _pause(self, now: dt.datetime) -> float:
        if self.trust.candidate is not None:
            return _POLL_S
        ends = [r.until for r in self.trust.retired]
        return max(0.05, min([_LONGEST_S, *((end - now).total_seconds() for end in ends)]))

    # -- expiry ---------------------------------------------------------------------------------

    def ending(self, now: dt.datetime) -> list[str]:
        """The CA's certificates, and other roots that proxies trust, that end soon."""
        named: list[tuple[str, x509.Certificate]] = []
        for authority in (self.trust.issuer, self.trust.candidate):
            if authority is not None:
                secret = f"of Secret {self._namespace}/{self._source[authority]}"
                named += [(f"the root {fingerprint(c)[:16]} {secret}", c) for c in authority.roots]
                named += [(f"the CA's certificate {secret}", c) for c in (authority.certificate, *authority.chain)]
        named += [(f"the root {fingerprint(c)[:16]} of MeshConfig caCertificates", c) for c in self._others]
        return expiry.ending(named, now)

    def _warn(self, now: dt.datetime) -> None:
        """Log what ends soon, once a day."""
        texts = self.ending(now)
        for text in texts:
            if text not in self._told:
                log.warning("%s", text)
        self._told = texts

    # -- status ---------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For `sailctl ca status`: no key in it."""
        trust = self.trust

        def described(authority: Authority | None) -> dict[str, str] | None:
            if authority is None:
                return None
            return {
                "root": fingerprint(authority.root),
                "subject": authority.certificate.subject.rfc4514_string(),
                "secret": self._source[authority],
                "notAfter": _text(authority.not_after),
            }

        retired = [{"root": fingerprint(c), "trustedUntil": _text(r.until)} for r in trust.retired for c in r.roots]
        waiting = self._waiting_for if trust.candidate is not None else []
        return {
            "issuer": described(trust.issuer),
            "candidate": described(trust.candidate),
            "waitingFor": waiting,
            "retired": retired,
            "problem": self.problem,
            "ending": self.ending(dt.datetime.now(dt.UTC)),
        }

    def metrics(self) -> dict[str, float]:
        """Istio's gauges of expiry, by name without `citadel_server_`."""
        authority, now = self.server_authority, dt.datetime.now(dt.UTC)
        root, chain = authority.root.not_valid_after_utc, authority.not_after
        return {
            "root_cert_expiry_timestamp": root.timestamp(),
            "root_cert_expiry_seconds": (root - now).total_seconds(),
            "cert_chain_expiry_timestamp": chain.timestamp(),
            "cert_chain_expiry_seconds": (chain - now).total_seconds(),
        }


def config_map(name: str, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    """A ConfigMap that agents read."""
    labels = {"istio.io/config": "true"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _files(secret: Secret) -> dict[str, bytes]:
    """The Secret's data; what is not base64 is left out."""
    out = {}
    for name, value in (secret.get("data") or {}).items():
        with contextlib.suppress(ValueError, TypeError):
            out[str(name)] = base64.b64decode(value, validate=True)
    return out


def _is_older(one: Secret, other: Secret) -> bool:
    """Whether one is an earlier version of the other. Resource versions of one object are numbers that grow."""
    first, second = one["metadata"], other["metadata"]
    versions = [str(m.get("resourceVersion", "")) for m in (first, second)]
    return (
        first.get("uid") == second.get("uid")
        and all(map(str.isdigit, versions))
        and int(versions[0]) < int(versions[1])
    )


def _short(authority: Authority) -> str:
    return fingerprint(authority.root)[:16]


def _text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
