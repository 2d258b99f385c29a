"""Commands run in this process, as the tests of the command line run them, and their workspace."""

from tests.curate.conftest import crawl as crawl
from tests.curate.conftest import kdcurate as kdcurate
from tests.curate.conftest import scored as scored
from tests.curate.conftest import student as student
from tests.curate.conftest import teacher as teacher
