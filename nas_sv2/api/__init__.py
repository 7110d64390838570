"""What Python and the command line share: searches, studies, measurements, networks, devices."""
