"""The processes of one training job, as torchrun starts them."""
