"""Theory pages (en, ru), the tags that tie them to the code, and the checks that verify them."""
