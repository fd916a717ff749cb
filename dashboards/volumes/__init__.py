"""The pages of whole volumes: lesions and detections drawn on the scan."""
