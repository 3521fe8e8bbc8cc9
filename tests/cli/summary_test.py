#!/usr/bin/env python3
"""The counts that `make test` ends with: .ci/test-summary against the outputs of Catch2 2 and 3, scripts and crashes."""

import importlib.machinery
import importlib.util
import pathlib
import unittest

PATH = pathlib.Path(__file__).resolve().parents[2] / ".ci" / "test-summary"
loader = importlib.machinery.SourceFileLoader("test_summary", str(PATH))
loader_spec = importlib.util.spec_from_loader("test_summary", loader)
summary = importlib.util.module_from_spec(loader_spec)
loader.exec_module(summary)


class Count(unittest.TestCase):
    def check(self, status: str, output: str, expected: tuple[int, int, int]) -> None:
        self.assertEqual(tuple(summary.count(status, output)), expected)

    def test_all_passed(self) -> None:
        self.check("run", "All tests passed (15 assertions in 6 test cases)\n", (6, 0, 0))
        self.check("run", "All tests passed (1 assertion in 1 test case)\n", (1, 0, 0))

    def test_some_failed(self) -> None:
        self.check("fail", "test cases:  7 |  5 passed | 2 failed\nassertions: 16 | 14 passed | 2 failed\n", (5, 2, 0))
        self.check("fail", "test cases: 1 | 1 failed\n", (0, 1, 0))

    def test_a_case_without_outside_data_is_skipped_once(self) -> None:
        output = "SKIPPED goldens: FORETELL_DATA is not set\n" * 3 + "All tests passed (15 assertions in 6 test cases)\n"
        self.check("run", output, (5, 0, 1))
        self.check("run", "SKIPPED goldens: FORETELL_DATA is not set\ntest cases: 1 | 1 passed\nassertions: - none -\n", (0, 0, 1))

    def test_catch2_version_3_counts_skips_itself(self) -> None:
        self.check("run", "test cases: 3 | 2 passed | 1 skipped\n", (2, 0, 1))

    def test_what_dies_is_a_failure(self) -> None:
        self.check("fail", "Segmentation fault\n", (0, 1, 0))
        self.check("fail", "All tests passed (15 assertions in 6 test cases)\nLeakSanitizer: detected memory leaks\n", (6, 1, 0))

    def test_a_script_is_one(self) -> None:
        self.check("run", "fine\n", (1, 0, 0))
        self.check("fail", "not fine\n", (0, 1, 0))
        self.check("notrun", "SKIPPED bench: no device\n", (0, 0, 1))


if __name__ == "__main__":
    unittest.main()
