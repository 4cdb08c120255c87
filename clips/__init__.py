"""What a clip is, for both front doors: its picture, its conditions, its noise."""
