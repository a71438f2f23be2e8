"""deepfake-monitor: says within seconds when a voice, a face or the bond between them is forged."""
