"""A process of pytest-xdist hands on one report of a test that passes, and not three: reports take a tenth of the
processor's time in the fast set."""

import pytest
from _pytest.runner import runtestprotocol


class FewReports:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if all(report.passed for report in reports):
            before, report, after = reports
            report.user_properties += before.user_properties + after.user_properties
            reports = [report]
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
