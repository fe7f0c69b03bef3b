"""Programs that embed the package; the tests run each of them."""
