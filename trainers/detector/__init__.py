"""YOLOv3 on slice sets: training and prediction."""
