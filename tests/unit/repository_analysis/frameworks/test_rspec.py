"""RSpec, file by file."""

from examples.repository_analysis.models import Framework
from tests.unit.repository_analysis.helpers import analysed, counts, names

RSPEC = """\
require "spec_helper"

RSpec.describe Things, "in general" do
  subject { described_class.new }
  let(:it_is) { 1 }

  it "works" do
    expect(subject).to be
  end
  it { is_expected.to be_valid }
  specify("also") { expect(1).to eq 1 }
  it "is still to be written"

  context "when broken", :slow do
    xit "is not run" do end
    it("is skipped", skip: "see #12") { }
    it "skips itself" do
      skip "no time"
    end
    it "may skip" do
      skip "no fork" if windows?
    end
    pending "fails for now" do
      expect(1).to eq 2
    end
    it("runs on Ruby 3", if: RUBY_VERSION >= "3") { }
  end

  xdescribe "all of it" do
    it "a" do end
  end

  fcontext "focused" do
    it "b" do end
  end
  fit "c" do end
  it "d", :focus do end
  it "e", focus: true do end
  it "f", focus: false do end

  [1, 2].each do |n|
    it "row #{n}" do end
  end

  it "builds a group" do
    RSpec.describe("not ours") { it("neither") { } }
  end
end

it "is no example out here" do end
"""


def test_rspec_with_every_kind_of_skip_and_focus() -> None:
    report = analysed({"spec/things_spec.rb": RSPEC})
    assert counts(report, Framework.RSPEC) == {
        "files": 1,
        "suites": 4,
        "cases": 18,
        "parameterised": 1,
        "skipped": 5,
        "conditional": 2,
        "expected_to_fail": 1,
        "focused": 4,
    }
    assert [(mark.name.rpartition(" > ")[2], mark.reason) for mark in report.skipped.shown] == [
        ("is still to be written", "no body"),
        ("is not run", None),
        ("is skipped", "see #12"),
        ("skips itself", "no time"),
        ("all of it", None),
    ]
    assert "Things in general > when broken > may skip" in names(report)


def test_minitest_is_not_taken_for_rspec() -> None:
    assert not analysed({"spec/a_spec.rb": 'require "minitest/autorun"\ndescribe("a") { it("b") { } }\n'}).frameworks
