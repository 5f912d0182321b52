"""What distilled images are compared with: a loss, and its gradients in the images, their labels and what it learns."""
