<?php
$route = 'transfer';
require __DIR__ . "/../../served.php";
