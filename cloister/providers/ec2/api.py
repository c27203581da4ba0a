"""Calls to AWS: one client per service and region, every failure an error that says what to do."""

from __future__ import annotations

import datetime
import functools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloister.errors import ProviderError
from cloister.providers.ec2.pace import Pace

_TRIES_MAX = 8
_FIRST_PAUSE_S = 0.5
_PAUSE_S_MAX = 8.0
# So long a call is repeated that AWS refuses for coming too often. Launch calls wait for two instances a
# second where a thousand were launched a moment ago.
_PATIENCE_S = 60.0
_PATIENCE_LAUNCHING_S = 600.0
# AWS: five launch calls at once, then two a second. A little less, as calls do not take equally long.
_LAUNCHES_AT_ONCE, _LAUNCHES_PER_S = 5, 1.8
# AWS may say of a new resource for a while that it does not exist.
VISIBLE_WITHIN_S = 60.0
_CONNECT_S = 10.0
_READ_S = 60.0


_THROTTLED = frozenset(
    ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException")
)
_EXPIRED = frozenset(
    (
        "RequestExpired",
        "ExpiredToken",
        "ExpiredTokenException",
        "AuthFailure",
        "InvalidClientTokenId",
    )
)
# AWS's own failures: nobody knows what was done.
_UNKNOWN = frozenset(("InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"))
_NOT_SEEN = frozenset(
    (
        "InvalidKeyPair.NotFound",
        "InvalidGroup.NotFound",
        "InvalidPlacementGroup.Unknown",
        "InvalidInstanceID.NotFound",
    )
)
# This identity may not make that call.
DENIED = frozenset(("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"))


class AwsError(ProviderError):
    """A call that AWS refused; `code` is AWS's own."""

    def __init__(self, action: str, region: str, code: str, message: str) -> None:
        super().__init__(f"{action} in {region}: {code}: {message}", hint=_hint(code, action))
        self.action, self.region, self.code = action, region, code


class ReplyLost(ProviderError):
    """A call of which nobody knows whether it was carried out."""


class Credentials(ProviderError):
    """There are none, or they are no longer valid."""


def _hint(code: str, action: str) -> str:
    if code in DENIED:
        return f"this identity may not call {action}; `cloister doctor --aws` tries every call"
    if code in _THROTTLED:
        return "other programs use up this account's rate; run the command again, it continues"
    return ""


class Aws:
    """`clock` and `sleep` are passed in for tests."""

    def __init__(
        self,
        *,
        profile: str | None = None,
        region: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._profile = profile
        self._region = region
        self._sleep = sleep
        self._clients: dict[tuple[str, str], Any] = {}
        self._paces: dict[str, Pace] = {}
        self._lock = threading.Lock()
        self._session: Any = None

    @property
    def region(self) -> str:
        """The configured region, else the profile's or environment's. Credentials if there is none."""
        region = self._region or self._boto().region_name
        if not region:
            raise Credentials(
                "no AWS region is known",
                hint="give cluster.ec2.region, AWS_REGION, or a profile that has one",
            )
        return str(region)

    def call(self, region: str, action: str, /, *, service: str = "ec2", **parameters: Any) -> Any:
        """The reply. Throttled calls are repeated; AwsError, ReplyLost or Credentials otherwise.

        Whoever calls what is not idempotent treats ReplyLost.
        """
        launches = action == "run_instances"
        ends_at = time.monotonic() + (_PATIENCE_LAUNCHING_S if launches else _PATIENCE_S)
        pause_s = _FIRST_PAUSE_S
        while True:
            if launches:
                self._pace(region).wait()
            try:
                return self._once(region, action, service, parameters)
            except AwsError as error:
                if error.code not in _THROTTLED or time.monotonic() > ends_at:
                    raise
            # Not all at the same moment again.
            self._sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    def seen(self, region: str, action: str, /, **parameters: Any) -> Any:
        """As `asked`, for what names a resource that was just made: repeated while AWS does not see it yet."""
        ends_at = time.monotonic() + VISIBLE_WITHIN_S
        while True:
            try:
                return self.asked(region, action, **parameters)
            except AwsError as error:
                if error.code not in _NOT_SEEN or time.monotonic() > ends_at:
                    raise
            self._sleep(_FIRST_PAUSE_S)

    def pages(
        self, region: str, action: str, key: str, /, *, service: str = "ec2", **parameters: Any
    ) -> Iterator[Any]:
        """Every entry of `key` over all pages. A describe call that is lost is asked again."""
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            reply = self.asked(region, action, service=service, **parameters, **more)
            yield from reply.get(key) or ()
            token = reply.get("NextToken")
            if not token:
                return

    def asked(self, region: str, action: str, /, *, service: str = "ec2", **parameters: Any) -> Any:
        """As `call`, for what changes nothing, or is idempotent: repeated when the reply was lost."""
        for attempt in range(1, _TRIES_MAX + 1):
            try:
                return self.call(region, action, service=service, **parameters)
            except ReplyLost:
                if attempt == _TRIES_MAX:
                    raise
            self._sleep(_FIRST_PAUSE_S)
        raise AssertionError("unreachable")

    def _once(self, region: str, action: str, service: str, parameters: Mapping[str, Any]) -> Any:
        import botocore.exceptions as failures

        named = _camel(action)
        try:
            return getattr(self._client(service, region), action)(**parameters)
        except failures.ClientError as error:
            detail = error.response.get("Error", {})
            code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
            if code in _EXPIRED:
                raise Credentials(
                    f"{named} in {region}: {code}: {message}",
                    hint="sign in again (`aws sso login`, or new keys); the leases run on without it",
                ) from None
            if code in _UNKNOWN:
                raise ReplyLost(f"{named} in {region}: {code}: {message}") from None
            raise AwsError(named, region, code, message) from None
        except (failures.NoCredentialsError, failures.PartialCredentialsError) as error:
            raise Credentials(
                f"{named} in {region}: {error}",
                hint="`aws configure`, `aws sso login`, AWS_PROFILE, or cluster.ec2.profile",
            ) from None
        except (failures.ProfileNotFound, failures.TokenRetrievalError, failures.SSOError) as error:
            raise Credentials(str(error), hint="see ~/.aws/config; `aws sso login`") from None
        except (failures.HTTPClientError, failures.ConnectionError) as error:
            raise ReplyLost(
                f"{named} in {region}: {error}",
                hint="run the command again: it finds out what was done and continues",
            ) from None
        except failures.BotoCoreError as error:
            raise ProviderError(f"{named} in {region}: {error}") from None

    def _pace(self, region: str) -> Pace:
        with self._lock:
            if region not in self._paces:
                self._paces[region] = Pace(
                    burst=_LAUNCHES_AT_ONCE, per_s=_LAUNCHES_PER_S, sleep=self._sleep
                )
            return self._paces[region]

    def _boto(self) -> Any:
        import boto3
        import botocore.exceptions
        import botocore.session

        with self._lock:
            if self._session is None:
                core = botocore.session.Session()
                core.register_component("data_loader", _loader())
                parsers = core.get_component("response_parser_factory")
                parsers.set_parser_defaults(timestamp_parser=_moment)
                try:
                    self._session = boto3.Session(botocore_session=core, profile_name=self._profile)
                except botocore.exceptions.ProfileNotFound as error:
                    raise Credentials(str(error), hint="see ~/.aws/config") from None
            return self._session

    def _client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        session = self._boto()
        with self._lock:
            if (service, region) not in self._clients:
                # Retries are ours: botocore repeats lack of capacity, which comes as HTTP 500, for half
                # a minute, and a launch of which the reply was lost must repeat the very same request.
                config = Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=_CONNECT_S,
                    read_timeout=_READ_S,
                    max_pool_connections=32,
                    user_agent_extra="cloister",
                )
                self._clients[service, region] = session.client(
                    service, region_name=region, config=config
                )
            return self._clients[service, region]


@functools.cache
def _loader() -> Any:
    """Reads AWS's models, which takes half a second for EC2's, once for all sessions of this process."""
    import botocore.loaders

    return botocore.loaders.create_loader()


def _moment(text: Any) -> datetime.datetime:
    """As botocore reads times, which takes it half of all that reading a describe call takes."""
    import botocore.utils

    try:
        return datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return botocore.utils.parse_timestamp(text)


def _camel(action: str) -> str:
    return "".join(word.capitalize() for word in action.split("_"))
