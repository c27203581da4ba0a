"""Calls to AWS: one client per service and region, every failure an error that says what to do."""

from __future__ import annotations

import datetime
import email.utils
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
    (
        *("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"),
        "EC2ThrottledException",
    )
)
_SIGN_IN = "sign in again (`aws sso login`, or new keys), then run the command again: it continues; the leases run on without it"
_KEY = (
    "the access key is not valid (any more), or this account has not enabled the region:"
    " see `aws sts get-caller-identity` and `aws account list-regions`"
)
_SIGNATURE = (
    "the secret access key does not belong to the access key: copy both again, without spaces"
)
_CLOCK = "AWS refuses requests from a clock that is minutes off: set this machine's (`timedatectl set-ntp true`)"
# Code → what to do about the credentials.
_CREDENTIALS = {
    "RequestExpired": _SIGN_IN,
    "ExpiredToken": _SIGN_IN,
    "ExpiredTokenException": _SIGN_IN,
    "AuthFailure": _KEY,
    "InvalidClientTokenId": _KEY,
    "InvalidAccessKeyId": _KEY,
    "UnrecognizedClientException": _KEY,
    "SignatureDoesNotMatch": _SIGNATURE,
    "InvalidSignatureException": _SIGNATURE,
    "RequestTimeTooSkewed": _CLOCK,
}
# AWS takes requests that are up to five minutes old.
_SKEW_S_MAX = 240.0
# AWS's own failures: nobody knows what was done.
_UNKNOWN = frozenset(
    (
        *("InternalError", "InternalFailure", "InternalServerException"),
        *("ServiceUnavailable", "Unavailable"),
    )
)
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
    """A call that AWS refused; `code` is AWS's own.

    repeated: an earlier try, of which the reply was lost, may have been carried out.
    """

    def __init__(self, action: str, region: str, code: str, message: str) -> None:
        # The encoded part of a refusal is long, and of use to administrators alone.
        self.reason = message.partition("Encoded authorization failure message")[0].strip()
        super().__init__(f"{action} in {region}: {code}: {self.reason}", hint=_hint(code, action))
        self.action, self.region, self.code = action, region, code
        self.repeated = False

    @property
    def may_mean_gone(self) -> bool:
        """Of a removal: what is gone has no tags, and a policy that asks for one denies to remove it again."""
        return self.repeated and self.code in DENIED


class ReplyLost(ProviderError):
    """A call of which nobody knows whether it was carried out."""


class Credentials(ProviderError):
    """There are none, or they are no longer valid."""


def _hint(code: str, action: str) -> str:
    if code in DENIED:
        return f"this identity may not call {action}; `cloister doctor --aws` tries every call"
    if code in _THROTTLED:
        return "other programs use up this account's rate; run the command again, it continues"
    return _HINTS.get(code, "")


_TRY = "`cloister doctor --aws` tries the launch without doing it"
_HINTS = {
    "IdempotentParameterMismatch": "another request had this one's token: `cloister destroy`, then `cloister launch`",
    "InvalidAMIID.NotFound": "the image was there a moment ago; `cloister plan` looks for it again",
    "InvalidAMIID.Unavailable": "the image was there a moment ago; `cloister plan` looks for it again",
    "InvalidParameterCombination": f"these machines do not take what ec2 asks for; {_TRY}",
    "InvalidParameterValue": f"these machines do not take what ec2 asks for; {_TRY}",
    "InvalidBlockDeviceMapping": "the root volume is smaller than the image: raise ec2.disk, or leave it out",
    "OptInRequired": "AWS has not activated EC2 for this account, or not in this region: see its console",
    "PendingVerification": "AWS is still verifying this account, which it ends by a mail",
    "Blocked": "AWS has blocked this account: see its console",
}


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
        self._account = ""

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

    @property
    def account(self) -> str:
        """The number of the account that the credentials belong to; asked for once."""
        if not self._account:
            reply = self.asked(self.region, "get_caller_identity", service="sts")
            self._account = str(reply["Account"])
        return self._account

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
            except AwsError as error:
                error.repeated = attempt > 1
                raise
            self._sleep(_FIRST_PAUSE_S)
        raise AssertionError("unreachable")

    def _once(self, region: str, action: str, service: str, parameters: Mapping[str, Any]) -> Any:
        import botocore.exceptions as failures

        named = camel(action)
        try:
            return getattr(self._client(service, region), action)(**parameters)
        except failures.ClientError as error:
            raise _refused(error, named, region) from None
        except failures.NoCredentialsError as error:
            raise Credentials(
                f"{named} in {region}: {error}",
                hint="`aws configure`, `aws sso login`, AWS_PROFILE, or cluster.ec2.profile",
            ) from None
        except (
            failures.EndpointConnectionError,
            failures.ConnectTimeoutError,
            failures.ProxyConnectionError,
            failures.SSLError,
        ) as error:
            raise ReplyLost(
                f"{named} in {region}: {error}",
                hint=f"is this machine online, does it need a proxy (HTTPS_PROXY), is there a region {region}?"
                " Run the command again then: it continues",
            ) from None
        except (failures.HTTPClientError, failures.ConnectionError) as error:
            raise ReplyLost(
                f"{named} in {region}: {error}",
                hint="run the command again: it finds out what was done and continues",
            ) from None
        except failures.BotoCoreError as error:
            raise _unusable(error, f"{named} in {region}: ") from None

    @property
    def origin(self) -> str:
        """Where the credentials come from, for a person. Credentials if there are none."""
        import botocore.exceptions as failures

        try:
            found = self._boto().get_credentials()
        except failures.BotoCoreError as error:
            raise _unusable(error, "looking for credentials: ") from None
        if found is None:
            raise Credentials(
                "there are no AWS credentials",
                hint="`aws configure`, `aws sso login`, AWS_PROFILE, or cluster.ec2.profile",
            )
        return _ORIGINS.get(found.method, found.method)

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
                    session = boto3.Session(botocore_session=core, profile_name=self._profile)
                    # Here, where an unknown AWS_PROFILE or a broken file is first noticed.
                    core.get_config_variable("region")
                except botocore.exceptions.BotoCoreError as error:
                    raise _unusable(error, "") from None
                self._session = session
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


# botocore's word for where credentials came from → ours.
_ORIGINS = {
    "env": "environment variables",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a web identity",
    "sso": "single sign-on",
    "login": "`aws login`",
    "custom-process": "the profile's credential_process",
    "container-role": "this container's role",
    "iam-role": "this instance's role",
}


def _refused(error: Any, named: str, region: str) -> ProviderError:
    """As what an error answer of AWS counts."""
    detail = error.response.get("Error", {})
    code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
    said = f"{code}: {message}"
    if error.operation_name != named:
        # Not our call, but one that botocore makes to get credentials.
        return Credentials(
            f"getting credentials for {named} in {region}: {error.operation_name}: {said}",
            hint="may your own identity assume the profile's role? See role_arn in ~/.aws/config",
        )
    if code in _CREDENTIALS:
        return Credentials(
            f"{named} in {region}: {said}", hint=_skewed(error) or _CREDENTIALS[code]
        )
    # Whoever stands before AWS answers without a code of AWS's; botocore then gives the status for one.
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _UNKNOWN or (status >= 500 and code == str(status)):
        return ReplyLost(f"{named} in {region}: {said}")
    return AwsError(named, region, code, message)


def _skewed(error: Any) -> str:
    """That this machine's clock is wrong, by AWS's own; empty if it is not."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        theirs = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return ""
    skew_s = time.time() - theirs
    if abs(skew_s) < _SKEW_S_MAX:
        return ""
    return f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS's; {_CLOCK}"


def _unusable(error: Exception, before: str) -> ProviderError:
    """As what botocore's own failures count: most are about configuration files and credentials."""
    import botocore.exceptions as failures

    single_sign_on = (failures.SSOError, failures.TokenRetrievalError, failures.NoAuthTokenError)
    if isinstance(error, single_sign_on):
        return Credentials(
            f"{before}{error}", hint="`aws sso login` (with --profile NAME) signs in"
        )
    hints: dict[type[Exception], str] = {
        failures.ProfileNotFound: "`aws configure list-profiles` lists them; see cluster.ec2.profile and AWS_PROFILE",
        failures.PartialCredentialsError: "give both the access key and the secret access key",
        failures.ConfigParseError: "correct the file that is named",
        failures.InvalidConfigError: "correct the profile in ~/.aws/config",
        failures.UnknownCredentialError: "correct credential_source in ~/.aws/config",
        failures.CredentialRetrievalError: "does the profile's credential_process work?",
        failures.MetadataRetrievalError: "this machine's own role cannot be read: try again",
    }
    for kind, hint in hints.items():
        if isinstance(error, kind):
            return Credentials(f"{before}{error}", hint=hint)
    return ProviderError(f"{before}{error}", hint="see ~/.aws/config and the AWS_… variables")


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


def camel(action: str) -> str:
    """AWS's name of what boto3 calls so."""
    return "".join(word.capitalize() for word in action.split("_"))
