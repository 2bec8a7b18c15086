"""Makes the files that come with the measurements: the weights in bench/instruments/weights."""
