"""The automations file, without a server."""

from pathlib import Path
from uuid import uuid4

import yaml
from prefect.events.schemas.automations import AutomationCore

FILE = Path(__file__).parents[2] / "deployments" / "automations.yaml"


def test_every_automation_is_one_once_the_block_is_named():
    text = FILE.read_text(encoding="utf-8").replace("FAILURES", str(uuid4()))
    automations = [AutomationCore.model_validate(one) for one in yaml.safe_load(text)["automations"]]
    assert [one.name for one in automations] == ["sen12-run-failed", "sen12-run-late"]
    for automation in automations:
        assert automation.enabled
        assert automation.trigger.match_related["prefect.resource.name"] == [
            "build-dataset",
            "plan-dataset",
            "publish-dataset",
        ]


def test_no_address_is_in_the_file():
    assert "://" not in FILE.read_text(encoding="utf-8")
