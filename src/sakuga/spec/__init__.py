"""What the user asked for, as plain data. Nothing here opens a picture, a model or a device, or imports torch."""
