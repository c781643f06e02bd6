"""Jest, Vitest and Mocha, file by file."""

import json

import pytest

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

JEST = """\
import { helper } from '../helper';

jest.mock('../helper');

describe('outer', () => {
  beforeEach(() => {});

  it('plain', () => { expect(1).toBe(1); });
  test('with a timeout', async () => {}, 1000);

  describe('inner', function () {
    it(`template ${1}`, () => {});
    it.each([[1, 2], [3, 4]])('row %i', (a, b) => {});
    it.each`
      a    | b
      ${1} | ${2}
    `('table $a', ({ a, b }) => {});
    it.todo('write me');
    xit('x', () => {});
    it.skip('skipped', () => {});
    test.failing('known', () => {});
    test.concurrent.skip.each([1])('all at once', () => {});
  });

  describe.skip('skipped suite', () => {
    it('a', () => {});
    it('b', () => {});
  });

  for (const n of [1, 2]) {
    it('loop ' + n, () => {});
  }
});

fdescribe('focused suite', () => { it('c', () => {}); });
fit('focused', () => {});
it.only('only', () => {});
describe.each([1, 2])('each %i', () => { it('d', () => {}); });

/re/.test('x');
test(helper);
const it2 = test.each([1]);
// it('in a comment', () => {});
const text = "it('in a string', () => {})";
"""


def test_jest_with_every_kind_of_skip_focus_and_rows() -> None:
    report = analysed({"src/__tests__/things.test.js": JEST})
    assert counts(report, Framework.JEST) == {
        "files": 1,
        "suites": 5,
        "cases": 17,
        "parameterised": 5,
        "skipped": 6,
        "expected_to_fail": 1,
        "focused": 3,
    }
    assert [(mark.name, mark.cases) for mark in report.focused.shown] == [
        ("focused", 1),
        ("only", 1),
        ("focused suite", 1),
    ]
    assert [(mark.name, mark.reason) for mark in report.skipped.shown if mark.reason] == [
        ("outer > inner > write me", "todo")
    ]
    assert "outer > inner > template ${1}" in names(report)


VITEST = """\
import { describe, expect, it, test } from 'vitest'

describe.skipIf(process.platform === 'win32')('posix', () => {
  it('a', { timeout: 10 }, () => {})
})
test.runIf(!!process.env.CI)('ci', () => {})
test('options', { skip: true }, () => {})
test('not skipped', { skip: false, only: true }, () => {})
test.fails('known', () => {})
it.for([[1, 2]])('row %i', ([a, b]) => {})
suite.only<Context>('typed', () => { test<Local>('b', async ({ task }) => {}) })
"""


def test_vitest_with_its_options_and_conditions_in_typescript() -> None:
    report = analysed({"test/things.spec.ts": VITEST})
    assert counts(report, Framework.VITEST) == {
        "files": 1,
        "suites": 2,
        "cases": 7,
        "parameterised": 1,
        "skipped": 1,
        "conditional": 2,
        "expected_to_fail": 1,
        "focused": 2,
    }


MOCHA = """\
const assert = require('assert');

describe('app', function () {
  this.timeout(5000);
  context('when up', function () {
    it('answers', function (done) { done(); });
    specify('also');
    it('skips itself', function () { this.skip(); });
    it('may skip', function () { if (process.env.X) { this.skip(); } });
  });
  xdescribe('later', function () { it('a', function () {}); });
  ['get', 'post'].forEach(function (method) {
    it('supports ' + method, function () {});
  });
});
"""


def test_mocha_with_pending_tests_and_this_skip() -> None:
    report = analysed({"test/app.js": MOCHA})
    assert counts(report, Framework.MOCHA) == {
        "files": 1,
        "suites": 3,
        "cases": 6,
        "parameterised": 1,
        "skipped": 3,
        "conditional": 1,
    }


PLAIN = "describe('a', () => { it('b', () => {}) })\n"


@pytest.mark.parametrize(
    ("files", "framework"),
    [
        ({"package.json": json.dumps({"devDependencies": {"jest": "^29"}})}, Framework.JEST),
        ({"package.json": json.dumps({"devDependencies": {"vitest": "1"}})}, Framework.VITEST),
        ({"package.json": json.dumps({"scripts": {"test": "nyc mocha"}, "jest": {}})}, Framework.MOCHA),
        ({"package.json": json.dumps({"devDependencies": {"jest": "1"}}), ".mocharc.yml": ""}, Framework.MOCHA),
        ({"package.json": json.dumps({"jest": {}}), "a/vitest.config.ts": ""}, Framework.VITEST),
        ({"package.json": "{"}, Framework.JAVASCRIPT),
        ({"package.json": "[]"}, Framework.JAVASCRIPT),
    ],
)
def test_the_nearest_settings_tell_the_runner(files: dict[str, str], framework: Framework) -> None:
    report = analysed(files | {"a/b/things.test.js": PLAIN})
    assert [tally.framework for tally in report.frameworks] == [framework]


@pytest.mark.parametrize(
    ("line", "framework"),
    [
        ("import { it } from '@jest/globals'", Framework.JEST),
        ("const { it } = require('mocha')", Framework.MOCHA),
        ("import { describe, it } from 'node:test'", Framework.JAVASCRIPT),
    ],
)
def test_an_import_outweighs_the_settings(line: str, framework: Framework) -> None:
    settings = {"package.json": json.dumps({"devDependencies": {"vitest": "1"}})}
    report = analysed(settings | {"things.test.mjs": f"{line}\n{PLAIN}"})
    assert [tally.framework for tally in report.frameworks] == [framework]


def test_a_file_that_is_neither_named_nor_placed_as_a_test_is_left_out() -> None:
    assert not analysed({"src/things.js": PLAIN, "test/types.d.ts": PLAIN}).frameworks
