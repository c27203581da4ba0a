"""An Ansible callback that prints every task's outcome as one line of JSON: task, host, output."""

from __future__ import annotations

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: each_line
type: stdout
short_description: one line of JSON per task and host
description: [for the benchmark]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "each_line"

    def v2_runner_on_ok(self, result):
        host, task = result._host.get_name(), result._task.get_name()
        print(json.dumps([task, host, result._result.get("stdout", "")]))
