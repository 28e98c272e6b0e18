"""What the product is measured against, and the product with one part taken out."""
