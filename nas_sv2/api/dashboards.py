"""The studies of a database in Optuna's dashboard."""

from nas_sv2.studies.dashboard.server import Served as Served
from nas_sv2.studies.dashboard.server import open_dashboard as open_dashboard
