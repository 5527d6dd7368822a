"""The connection to Earth Engine: one a process, opened when it is first needed, never sent anywhere."""

import json
import logging
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ee
import google.auth
import requests
from google.auth import exceptions as auth_errors
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from pipeline.errors import RecipeError, SourceError, TransientSourceError
from pipeline.sources.earth_engine import recent, usage
from pipeline.sources.transport import public_text

logger = logging.getLogger(__name__)

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""Endpoint for many small requests; it has a quota of its own, as large as the standard endpoint's."""

SERVICE_ACCOUNT_VARIABLE = "EE_SERVICE_ACCOUNT_FILE"
PROJECT_VARIABLE = "EE_PROJECT"
ENDPOINT_VARIABLE = "EE_ENDPOINT"

DEADLINE_MS = 120_000
"""Longest time that one request may take; the client sets none by itself."""

_POOL = 64
_SCOPES = ("https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform")
_RESTRICTED = ".*has exceeded its noncommercial compute quota.*"
_lock = threading.RLock()
_opened: list["Session"] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where to connect to, and on whose account; credentials are found by the process that connects."""

    project: str
    """Google Cloud project that is registered for Earth Engine."""
    endpoint: str = HIGH_VOLUME

    @classmethod
    def from_environment(cls) -> "Session":
        """Return the session that EE_PROJECT and EE_ENDPOINT describe.

        Raises
        ------
        RecipeError
            EE_PROJECT is not set.
        """
        project = os.environ.get(PROJECT_VARIABLE, "").strip()
        if not project:
            raise RecipeError(
                f"--source earth-engine needs a project: set {PROJECT_VARIABLE} to the Google Cloud project that is "
                "registered for Earth Engine"
            )
        return cls(project=project, endpoint=os.environ.get(ENDPOINT_VARIABLE, "").strip() or HIGH_VOLUME)

    def connect(self) -> None:
        """Make this process's client ready; does nothing when it is.

        Raises
        ------
        RecipeError
            There are no credentials, they cannot be read, or Earth Engine does not accept them.
        TransientSourceError
            Earth Engine is unreachable or throttles.
        """
        with _lock:
            if _opened == [self]:
                return
            _opened.clear()
            self._initialise()
            _opened.append(self)

    def _initialise(self) -> None:
        credentials = find_credentials()
        ee.data.reset()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ee.Initialize(credentials, project=self.project, url=self.endpoint)
            # Retries are the governor's, who gives its permit back while it waits.
            ee.data.setMaxRetries(0)
            ee.data.setDeadline(DEADLINE_MS)
        except (auth_errors.TransportError, ConnectionError, TimeoutError, requests.RequestException) as err:
            raise TransientSourceError(f"Earth Engine cannot be reached: {public_text(err)}") from None
        except (auth_errors.GoogleAuthError, ee.EEException) as err:
            raise _refused(err, self.project) from None
        _watch(ee.data._get_state().requests_session)


def disconnect() -> None:
    """Forget this process's client."""
    with _lock:
        _opened.clear()
        ee.data.reset()
        usage.forget_quota()
        recent.forget()


def find_credentials() -> Any:
    """Return credentials: of the service account's file, application default, or `earthengine authenticate`.

    Raises
    ------
    RecipeError
        There are none, or the file that EE_SERVICE_ACCOUNT_FILE names is of no use.
    """
    path = os.environ.get(SERVICE_ACCOUNT_VARIABLE, "").strip()
    if path:
        return _service_account(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            credentials, _ = google.auth.default(scopes=_SCOPES)
    except auth_errors.DefaultCredentialsError:
        return _stored_user()
    return credentials


def _service_account(path: Path) -> Any:
    try:
        return service_account.Credentials.from_service_account_file(str(path), scopes=_SCOPES)
    except (OSError, ValueError, auth_errors.GoogleAuthError):
        # Their own errors may quote the file.
        raise RecipeError(f"{SERVICE_ACCOUNT_VARIABLE}: {path} is not a readable service-account key file") from None


def _stored_user() -> Any:
    path = Path(ee.oauth.get_credentials_path())
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return user_credentials.Credentials(
            None,
            token_uri=stored.get("token_uri", ee.oauth.TOKEN_URI),
            client_id=stored.get("client_id", ee.oauth.CLIENT_ID),
            client_secret=stored.get("client_secret", ee.oauth.CLIENT_SECRET),
            refresh_token=stored["refresh_token"],
            scopes=stored.get("scopes", ee.oauth.SCOPES),
        )
    except (OSError, ValueError, KeyError):
        raise RecipeError(
            f"no credentials for Earth Engine: set {SERVICE_ACCOUNT_VARIABLE} to a service account's key file, or run "
            "`gcloud auth application-default login` or `earthengine authenticate`"
        ) from None


def _refused(err: Exception, project: str) -> SourceError | RecipeError:
    status = usage.status_of(err)
    if status == 429 or (status is not None and status >= 500):
        return TransientSourceError(f"Earth Engine cannot be reached: HTTP {status}")
    return RecipeError(f"Earth Engine does not accept the credentials for project {project}: {public_text(err)}")


def _watch(session: requests.Session | None) -> None:
    if session is None:
        raise SourceError("this release of earthengine-api keeps no HTTP session")
    adapter = HTTPAdapter(pool_maxsize=_POOL)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.hooks["response"].append(usage.watch_quota)
    # `usage` notes what the client only warns of.
    warnings.filterwarnings("ignore", _RESTRICTED)
