"""What Python and the command line share: searches, studies, measurements, networks, devices."""

from nas_sv2.database import DEFAULT_STORAGE as DEFAULT_STORAGE
