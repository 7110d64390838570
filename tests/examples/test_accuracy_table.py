"""The contract tests on the example."""

import importlib.util
from pathlib import Path

import pytest

from nas_sv2.evaluate.fitting.evaluator import Evaluator
from nas_sv2.testing import EvaluatorTests


class TestAccuracyTable(EvaluatorTests):
    @pytest.fixture
    def evaluator(self) -> Evaluator:
        file = Path(__file__).with_name("accuracy_table.py")
        spec = importlib.util.spec_from_file_location("accuracy_table", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found: Evaluator = module.AccuracyTable()
        return found
